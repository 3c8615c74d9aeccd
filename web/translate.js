import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";

// ComfyUI translates the names of inputs and most tooltips by locales/<language>/nodeDefs.json, but neither the choices
// of a combo nor the tooltips of the inputs that a preset brings. They stand in the same files and are put on here.
let language, nodeDefs;

async function load() {
  const wanted = app.extensionManager?.setting?.get("Comfy.Locale") ?? "en";
  if (wanted === language) return;
  const answer = await api.fetchApi("/i18n");
  nodeDefs = (await answer.json())[wanted]?.nodeDefs ?? {};
  language = wanted;
}

function translate(node) {
  const inputs = nodeDefs?.[node.comfyClass]?.inputs ?? {};
  for (const widget of node.widgets ?? []) {
    const text = inputs[widget.name.replaceAll(".", "_")];
    if (text?.tooltip) widget.tooltip = text.tooltip;
    if (text?.options) widget.options.getOptionLabel = (value) => text.options[value] ?? value;
  }
}

app.registerExtension({
  name: "FateZero.Translate",
  setup: load,
  async beforeRegisterNodeDef(nodeType, nodeData) {
    if (!nodeData.name.startsWith("FateZero")) return;
    await load();
    const onConfigure = nodeType.prototype.onConfigure;
    nodeType.prototype.onConfigure = function () {
      onConfigure?.apply(this, arguments);
      translate(this);
    };
  },
  nodeCreated(node) {
    if (!node.comfyClass?.startsWith("FateZero")) return;
    translate(node);
    const preset = node.widgets?.find((widget) => widget.name === "preset");
    if (!preset) return;
    const callback = preset.callback;
    preset.callback = function () {
      const answer = callback?.apply(this, arguments);
      translate(node); // another preset has brought new inputs
      return answer;
    };
  },
});
