import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { ownText } from "./translate.js";

// As in fatezero/video/formats.py.
const ENDINGS = (
  ".264 .3g2 .3gp .apng .asf .avi .avif .bmp .divx .dv .f4v .flv .gif .h264 .hevc .insv .ivf .jpeg .jpg .m2t .m2ts " +
  ".m2v .m4v .mjpeg .mjpg .mkv .mov .mp4 .mpeg .mpg .mts .mxf .nut .ogm .ogv .png .qt .tif .tiff .ts .vob .webm .webp " +
  ".wmv .y4m"
).split(" ");
const PATIENCE = 300; // ms without a change before the server is asked for a preview

const isClip = (file) => ENDINGS.some((ending) => file.name.toLowerCase().endsWith(ending));

async function upload(combo, file) {
  const body = new FormData();
  body.append("image", file);
  const answer = await api.fetchApi("/upload/image", { method: "POST", body });
  if (answer.status !== 200) return alert(`${file.name}: ${answer.status} ${answer.statusText}`);
  const { name, subfolder } = await answer.json();
  const path = subfolder ? `${subfolder}/${name}` : name;
  const values = combo.options?.values;
  if (Array.isArray(values) && !values.includes(path)) values.push(path);
  combo.value = path;
  combo.callback?.(path);
}

function pick(combo) {
  const input = document.createElement("input");
  input.type = "file";
  input.accept = ENDINGS.join(",");
  input.onchange = () => input.files.length && upload(combo, input.files[0]);
  input.click();
}

// The ids of the subgraphs that lead to a node and its own, as ComfyUI names nodes that run; null if it is in none.
function executionId(node, graph = app.rootGraph ?? app.graph) {
  for (const other of graph.nodes) {
    if (other === node) return String(node.id);
    const inner = other.subgraph && executionId(node, other.subgraph);
    if (inner) return `${other.id}:${inner}`;
  }
  return null;
}

function removePreview(node) {
  const index = node.widgets.findIndex((widget) => widget.name === "video-preview");
  if (index >= 0) {
    node.widgets[index].onRemove?.();
    node.widgets.splice(index, 1);
  }
  node.videoContainer = undefined;
}

// Asks the server for what the node would take with its present values, and shows that as if it had run.
async function preview(node) {
  if (node.inputs?.some((input) => ["video", "images"].includes(input.name) && input.link != null)) return;
  node.clipRequest?.abort();
  const request = (node.clipRequest = new AbortController());
  const values = Object.fromEntries(node.clipWidgets.map((widget) => [widget.name, widget.value]));
  try {
    const body = JSON.stringify(values);
    const answer = await api.fetchApi("/fatezero/clip", { method: "POST", body, signal: request.signal });
    const output = await answer.json();
    const id = executionId(node);
    if (!answer.ok || id === null) return;
    if (!output.images) removePreview(node);
    api.dispatchCustomEvent("executed", { node: id, display_node: id, prompt_id: "", output: { images: [], ...output } });
    node.setDirtyCanvas(true, true);
  } catch (error) {
    if (error.name !== "AbortError") console.warn("FateZero: no preview of the clip", error);
  }
}

function previewSoon(node) {
  clearTimeout(node.clipTimer);
  node.clipTimer = setTimeout(() => preview(node), PATIENCE);
}

function watch(node) {
  node.clipWidgets = node.widgets.filter((widget) => widget.name !== "upload" && widget.name !== "control_after_generate");
  for (const widget of node.clipWidgets) {
    const callback = widget.callback;
    widget.callback = function () {
      const answer = callback?.apply(this, arguments);
      previewSoon(node);
      return answer;
    };
  }
}

function takeDrops(node, combo) {
  const { onDragOver, onDragDrop } = node;
  node.onDragOver = function (event) {
    return [...(event.dataTransfer?.items ?? [])].some((item) => item.kind === "file") || onDragOver?.apply(this, arguments);
  };
  node.onDragDrop = async function (event) {
    const file = event.dataTransfer?.files?.[0];
    if (!file) return (await onDragDrop?.apply(this, arguments)) ?? false;
    if (isClip(file)) await upload(combo, file);
    else alert(`${file.name}: ${ownText("this is no video or picture that can be read")}`);
    return true;
  };
}

// Video Load takes every format that it reads, by its button and by dropping a file on it, and shows the chosen clip
// at once.
app.registerExtension({
  name: "FateZero.PickClips",
  nodeCreated(node) {
    if (node.comfyClass !== "FateZeroVideoLoad") return;
    const combo = node.widgets?.find((widget) => widget.name === "file");
    if (!combo) return;
    watch(node);
    takeDrops(node, combo);
    const button = node.addWidget("button", "upload", "image", () => pick(combo), { serialize: false });
    button.label = ownText("choose a clip to upload");
    const defaults = new Map(node.clipWidgets.map((widget) => [widget, widget.value]));
    const onConfigure = node.onConfigure;
    node.onConfigure = function () {
      onConfigure?.apply(this, arguments);
      // Older workflows have the button's value in the place of the widget that came next.
      for (const widget of ["background", "size_for"].map((name) => node.widgets.find((other) => other.name === name)))
        if (widget?.value === button.value) widget.value = defaults.get(widget);
      previewSoon(node);
    };
    previewSoon(node);
  },
});
