import { app } from "../../scripts/app.js";

// ComfyUI writes the widget that shows a video into the prompt, so that a node would run again once it has shown one.
app.registerExtension({
  name: "FateZero.Previews",
  beforeRegisterNodeDef(nodeType, nodeData) {
    if (!nodeData.name.startsWith("FateZero")) return;
    const { addDOMWidget } = nodeType.prototype;
    nodeType.prototype.addDOMWidget = function (name, type, element, options) {
      return addDOMWidget.call(this, name, type, element, name === "video-preview" ? { ...options, serialize: false } : options);
    };
  },
});
