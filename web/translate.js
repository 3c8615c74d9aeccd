import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";

// ComfyUI translates the names of inputs and most tooltips by locales/<language>/nodeDefs.json, but neither the choices
// of a combo nor the tooltips of the inputs that a preset brings. They stand in the same files and are put on here. What
// nodes report is translated here, too, by the patterns in locales/<language>/main.json.
let language, nodeDefs, reports;

async function load() {
  const wanted = app.extensionManager?.setting?.get("Comfy.Locale") ?? "en";
  if (wanted === language) return;
  const answer = await api.fetchApi("/i18n");
  const texts = (await answer.json())[wanted] ?? {};
  nodeDefs = texts.nodeDefs ?? {};
  reports = Object.entries(texts.fatezero?.reports ?? {}).map(([english, other]) => [pattern(english), other]);
  language = wanted;
}

// A sentence with places {0}, {1} ... as what recognises it.
function pattern(english) {
  const escaped = english.replace(/[.*+?^$()|[\]\\]/g, "\\$&");
  return new RegExp("^" + escaped.replace(/\{\d+\}/g, "(.*)") + "$");
}

function translated(text) {
  for (const [english, other] of reports) {
    const found = english.exec(text);
    if (found) return other.replace(/\{(\d+)\}/g, (_, place) => translated(found[Number(place) + 1]));
  }
  return text;
}

function translatedLine(line) {
  const [, mark, text] = /^((?:! )?)(.*)$/.exec(line);
  const whole = translated(text);
  if (whole !== text) return mark + whole;
  const parts = text.split(/(?<=\.) (?=[A-Z'])| {2,}/); // sentences, or the columns of a table
  const others = parts.map(translated);
  return others.some((other, index) => other !== parts[index]) ? mark + others.join(" ") : line;
}

// A node's report in the page's language; lines that no pattern knows stay as they are.
export function translateReport(text) {
  return reports?.length ? text.split("\n").map(translatedLine).join("\n") : text;
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
