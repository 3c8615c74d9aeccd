import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";

// ComfyUI translates the names of inputs and most tooltips by locales/<language>/nodeDefs.json, but neither the choices
// of a combo nor the tooltips of the inputs that a preset brings. They stand in the same files and are put on here. What
// nodes report, why they refuse, and the notes of templates are translated here, too, by texts/<language>.json: ComfyUI
// sends every page all languages of what lies in locales/, and these are the longest.
let language, loading, plurals, nodeDefs, texts, notes, headings, drawn, labels, choices, titles, patterns;

// Once for each language, however many nodes ask at the same time.
function load() {
  const wanted = app.extensionManager?.setting?.get("Comfy.Locale") ?? "en";
  if (wanted !== language) loading = read((language = wanted));
  return loading;
}

async function read(wanted) {
  const { en, own, ours } = await translations(wanted);
  nodeDefs = own;
  ({ texts, notes, titles: headings, pictures: drawn = {} } = ours);
  patterns = Object.entries({ ...ours.reports, ...ours.errors })
    .map(([english, other]) => ({ english, sentence: pattern(english), other }))
    .sort((one, next) => ownLetters(next.english) - ownLetters(one.english)); // the others might be found in them
  labels = new Map();
  choices = new Map();
  titles = new Map();
  for (const [node, { display_name, inputs }] of Object.entries(nodeDefs)) {
    if (!node.startsWith("FateZero")) continue;
    const [, title, english] = /^(.*) \((.*)\)$/.exec(display_name) ?? [];
    titles.set(english, title);
    for (const [input, { name, options }] of Object.entries(inputs ?? {})) {
      labels.set(en[node]?.inputs?.[input]?.name ?? input, name);
      for (const [choice, shown] of Object.entries(options ?? {})) choices.set(choice, shown);
    }
  }
  plurals = new Intl.PluralRules(wanted);
}

// What a language has of ours: en and own, the nodes' labels in English and in it; ours, what this script alone reads.
async function translations(wanted) {
  if (wanted === "en") return { en: {}, own: {}, ours: {} };
  const { en = {}, [wanted]: own = {} } = await (await api.fetchApi("/i18n")).json();
  if (!own.nodeCategories?.FateZero) return { en: {}, own: {}, ours: {} }; // a language that we do not have
  const ours = await fetch(new URL(`./texts/${wanted}.json`, import.meta.url), { cache: "no-cache" });
  return { en: en.nodeDefs ?? {}, own: own.nodeDefs, ours: await ours.json() };
}

// A sentence with places {0}, {1} ... as what recognises it.
function pattern(english) {
  const escaped = english.replace(/[.*+?^$()|[\]\\]/g, "\\$&");
  return new RegExp("^" + escaped.replace(/\{\d+\}/g, "(.*)") + "$");
}

function ownLetters(english) {
  return english.replace(/\{\d+\}/g, "").length;
}

// {0|frame|frames} in a translation: the form that goes with the number in place 0; Russian has three.
function form(number, forms) {
  const place = { one: 0, few: 1, many: 2 }[plurals.select(Number(number))] ?? 1;
  return forms[Math.min(place, forms.length - 1)];
}

function translated(text) {
  for (const { english, sentence, other } of patterns) {
    const found = sentence.exec(text);
    if (found)
      return other
        .replace(/\{(\d+)\|([^}]*)\}/g, (_, number, forms) => form(found[Number(number) + 1], forms.split("|")))
        .replace(/\{(\d+)\}/g, (place, number) => part(english, place, found[Number(number) + 1]));
  }
  return titles.get(text) ?? text;
}

// What stands in a place of a sentence: the name or a choice of an input, a person's own words, or a sentence of ours.
function part(english, place, text) {
  if (english.includes(`"${place}"`)) return text;
  const namesInput = new RegExp(`(^|but |sampler's )'\\${place}'`).test(english);
  if (namesInput && labels.has(text)) return labels.get(text);
  const [, quoted] = /^'(.*)'$/.exec(text) ?? [];
  return labels.has(quoted) ? `'${labels.get(quoted)}'` : (choices.get(text) ?? translated(text));
}

function translatedLine(line) {
  const [, mark, text] = /^((?:! )?)(.*)$/.exec(line);
  const [, words, remarks] = /^((?:[=+-] .*|.* -> .*) )\((.*)\)$/.exec(text) ?? []; // of the alignment of two prompts
  if (words) return `${words}(${remarks.split(", ").map(translated).join(", ")})`;
  const columns = text.split(/( {2,})/); // of a table, and the spaces between them
  if (columns.length > 1) return mark + inColumns(columns);
  for (const whole of [translated(text), translatedError(text)]) if (whole !== text) return mark + whole;
  return mark + text.split(/(?<=\.) (?=[A-Z'])/).map(translated).join(" "); // sentence by sentence
}

// How wide a text is among letters of one width: a Chinese, Japanese or Korean letter takes two places.
export function places(text) {
  return text.length + (text.match(/[\u1100-\u11ff\u2e80-\u9fff\uac00-\ud7af\uff00-\uff60]/g)?.length ?? 0);
}

// The columns of a table begin where they do in English, as far as there is room.
function inColumns(parts) {
  let line = "", end = 0;
  for (const part of parts) {
    end += part.length;
    line += part.trim() ? (drawn[part] ?? translated(part)) : " ".repeat(part && Math.max(2, end - places(line)));
  }
  return line;
}

// A node's report in the page's language; lines that no pattern knows stay as they are.
export function translateReport(text) {
  return patterns?.length ? text.split("\n").map(translatedLine).join("\n") : text;
}

// One of our own sentences on the page, in its language.
export function ownText(english) {
  return texts?.[english] ?? english;
}

// "Video Load: ..." in the page's language, where its pattern is known; what stands before the name of a node stays, and
// so do the lines below, which ComfyUI adds where memory has run out.
function translatedError(text) {
  const [, before, node, sentence, below] = /^((?:[\w.]+ - )?)([A-Z][^:\n]*): (.*)([^]*)$/.exec(text) ?? [];
  const other = titles?.has(node) ? translated(sentence.trim()) : undefined;
  return other === undefined || other === sentence.trim() ? text : `${before}${titles.get(node)}: ${other}${below}`;
}

// Before ComfyUI's own listeners, which show the event.
api.addEventListener(
  "execution_error",
  ({ detail }) => {
    detail.exception_message = translatedError(detail.exception_message);
  },
  { capture: true },
);

// What a node of ours tells while it runs, before ComfyUI's own listener shows it; an id with a colon is that of a node
// inside a subgraph.
function isOurs(id) {
  const node = (app.rootGraph ?? app.graph).getNodeById(id);
  return node?.comfyClass?.startsWith("FateZero") || String(id).includes(":");
}

const { dispatchCustomEvent } = api;
api.dispatchCustomEvent = function (type, detail) {
  const isTold = type === "progress_text" && isOurs(detail.nodeId);
  return dispatchCustomEvent.call(this, type, isTold ? { ...detail, text: translateReport(detail.text) } : detail);
};

// What ComfyUI refuses before a run comes with the answer to it, or as an error where nothing else can run.
function translateRefusals(answer) {
  for (const node of Object.values(answer?.node_errors ?? {})) {
    if (node.class_type?.startsWith("FateZero")) node.errors = toldOnce(node.errors);
    for (const each of node.errors) each.details = translatedError(each.details ?? "");
  }
  return answer;
}

// ComfyUI tells what validate_inputs refuses once for each input that it looks at: once is enough, at the input it names.
function toldOnce(errors) {
  const told = new Map();
  for (const each of errors) {
    const input = each.extra_info?.input_name ?? "", what = (each.details ?? "").slice(input.length);
    const key = each.type === "custom_validation_failed" ? what : each;
    const place = (other) => (what.indexOf(`'${other.replaceAll("_", " ")}'`) + 1 || Infinity);
    const before = told.get(key);
    if (!before || place(input) < place(before.extra_info.input_name)) told.set(key, each);
  }
  return [...told.values()];
}

// Our nodes draw words into pictures; the workflow tells them the page's language (nodes/shared/picture_words.py).
function withLanguage(graph) {
  if (!Object.values(graph?.output ?? {}).some((node) => node.class_type?.startsWith("FateZero"))) return graph;
  const extra = { ...graph.workflow?.extra, fatezero: { language } };
  return { ...graph, workflow: { ...graph.workflow, extra } };
}

const { queuePrompt } = api;
api.queuePrompt = async function (number, graph, ...others) {
  try {
    return translateRefusals(await queuePrompt.call(this, number, withLanguage(graph), ...others));
  } catch (error) {
    translateRefusals(error.response);
    throw error;
  }
};

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
  // A template's notes and titles, as long as nobody has changed them.
  loadedGraphNode(node) {
    const text = node.type === "MarkdownNote" && node.widgets?.[0];
    if (text && notes?.[text.value]) text.value = notes[text.value];
    node.title = headings?.[node.title] ?? node.title;
  },
  afterConfigureGraph() {
    for (const group of app.graph.groups) {
      const [, number, heading] = /^(\d+ +)?(.*)$/.exec(group.title);
      group.title = (number ?? "") + (headings?.[heading] ?? heading);
    }
  },
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
