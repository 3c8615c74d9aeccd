import { app } from "../../scripts/app.js";
import { places, translateReport } from "./translate.js";

const NAME = "report";
const LINE_HEIGHT = 15;

function addReport(node, text) {
  const element = document.createElement("pre");
  const lines = text.split("\n").reduce((count, line) => count + Math.ceil((places(line) || 1) / 50), 0);
  const height = Math.min(lines, 16) * LINE_HEIGHT + 12;
  element.style.cssText = `margin: 0; padding: 6px; box-sizing: border-box; min-height: ${height}px; overflow: auto;
    white-space: pre-wrap; user-select: text; font: 11px/${LINE_HEIGHT}px monospace;
    color: var(--input-text); background: var(--comfy-input-bg); border-radius: 4px;`;
  const widget = node.addDOMWidget(NAME, NAME, element, {
    getValue: () => element.textContent,
    setValue: (text) => (element.textContent = text),
    getMinHeight: () => height + 20, // and the margins of a widget
    serialize: false, // not in the prompt,
  });
  widget.serialize = false; // nor in the saved workflow
  const [width, needed] = node.computeSize();
  node.setSize([Math.max(node.size[0], width), Math.max(node.size[1], needed)]);
  return widget;
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
      const text = translateReport(output.text.join("\n"));
      const shown = this.widgets?.find((other) => other.name === NAME);
      if (!shown && !text) return; // nothing to tell, this time
      (shown ?? addReport(this, text)).value = text;
    };
  },
});
