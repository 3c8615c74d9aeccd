import { app } from "../../scripts/app.js";
import { places, translateReport } from "./translate.js";

const NAME = "report";
const TOLD = "$$node-text-preview"; // in which ComfyUI shows what a node tells while it runs
const LINE_HEIGHT = 15;

// How high a text stands, up to 16 lines; longer ones are scrolled.
function heightOf(text) {
  const lines = text.split("\n").reduce((count, line) => count + Math.ceil((places(line) || 1) / 50), 0);
  return Math.min(lines, 16) * LINE_HEIGHT + 12;
}

function addReport(node) {
  const element = document.createElement("pre");
  element.style.cssText = `margin: 0; padding: 6px; box-sizing: border-box; overflow: auto;
    white-space: pre-wrap; user-select: text; font: 11px/${LINE_HEIGHT}px monospace;
    color: var(--input-text); background: var(--comfy-input-bg); border-radius: 4px;`;
  const widget = node.addDOMWidget(NAME, NAME, element, {
    getValue: () => element.textContent,
    setValue: (text) => (element.textContent = text),
    getMinHeight: () => (parseInt(element.style.minHeight) || 0) + 20, // and the margins of a widget
    serialize: false, // not in the prompt,
  });
  widget.serialize = false; // nor in the saved workflow
  return widget;
}

// A later text may be longer, such as Video Load's when it has run: nothing of it stays below the edge.
function show(node, widget, text) {
  widget.value = text;
  const height = heightOf(text);
  if (height <= (parseInt(widget.element.style.minHeight) || 0)) return;
  widget.element.style.minHeight = `${height}px`;
  const needed = node.computeSize()[1]; // its width is no measure: a video asks for more than the node's
  node.setSize([node.size[0], Math.max(node.size[1], needed)]);
}

// The report holds what was told on the way: a line stands on the node once.
function removeTold(node) {
  const told = node.widgets?.find((widget) => widget.name === TOLD);
  if (told) node.removeWidget(told);
}

// Shows the text that our nodes report (ui.PreviewText) in the node itself; ComfyUI does so for its own nodes only.
app.registerExtension({
  name: "FateZero.ShowText",
  beforeRegisterNodeDef(nodeType, nodeData) {
    if (!nodeData.name.startsWith("FateZero")) return;
    const onExecuted = nodeType.prototype.onExecuted;
    nodeType.prototype.onExecuted = function (output) {
      onExecuted?.apply(this, arguments);
      if (!output?.text) return;
      showReport(this, output);
    };
  },
  // ComfyUI keeps what nodes have shown, and shows it again after undo, or when a workflow's tab is chosen again.
  onNodeOutputsUpdated(outputs) {
    for (const [locator, output] of Object.entries(outputs)) {
      const at = locator.lastIndexOf(":"), root = app.rootGraph ?? app.graph; // "<subgraph>:<node>" or "<node>"
      const graph = at < 0 ? root : root.subgraphs?.get(locator.slice(0, at));
      const node = graph?.getNodeById(locator.slice(at + 1));
      if (output?.text && node?.comfyClass?.startsWith("FateZero")) showReport(node, output);
    }
  },
});

function showReport(node, output) {
  const text = translateReport([output.text].flat().join("\n"));
  const shown = node.widgets?.find((other) => other.name === NAME);
  if (!shown && !text) return; // nothing to tell, this time
  removeTold(node);
  show(node, shown ?? addReport(node), text);
}
