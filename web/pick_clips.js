import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";

// As in fatezero/video/formats.py; ComfyUI's own button offers webm and mp4 only.
const ENDINGS = (
  ".264 .3g2 .3gp .apng .asf .avi .avif .bmp .divx .dv .f4v .flv .gif .h264 .hevc .insv .ivf .jpeg .jpg .m2t .m2ts " +
  ".m2v .m4v .mjpeg .mjpg .mkv .mov .mp4 .mpeg .mpg .mts .mxf .nut .ogm .ogv .png .qt .tif .tiff .ts .vob .webm .webp " +
  ".wmv .y4m"
).split(" ");

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

// Lets the button of Video Load, and dropping a file on the node, take every format that the node reads.
app.registerExtension({
  name: "FateZero.PickClips",
  nodeCreated(node) {
    if (node.comfyClass !== "FateZeroVideoLoad") return;
    const combo = node.widgets?.find((widget) => widget.name === "file");
    const button = node.widgets?.find((widget) => widget.type === "button" && widget.value === "image");
    if (!combo || !button) return;
    button.callback = () => pick(combo);
    // Workflows of 0.1.0 have the button's value in the place that is the background's now.
    const background = node.widgets.find((widget) => widget.name === "background");
    const onConfigure = node.onConfigure;
    node.onConfigure = function () {
      onConfigure?.apply(this, arguments);
      if (background?.value === button.value) background.value = "#000000";
    };
    const onDragDrop = node.onDragDrop;
    node.onDragDrop = async function (event) {
      const file = event.dataTransfer?.files?.[0];
      if (!file || !isClip(file)) return (await onDragDrop?.apply(this, arguments)) ?? false;
      await upload(combo, file);
      return true;
    };
  },
});
