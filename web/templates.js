import { api } from "../../scripts/api.js";

// The template browser shows a pack's workflows by their file names, in the order in which the server happens to find
// them. This is the order for someone who begins; what is not named here follows.
const ORDER = [
  "demo_color_edit",
  "sd15_edit_your_clip",
  "demo_style_edit",
  "demo_shape_edit_with_mask",
  "demo_edit_where_you_paint",
  "demo_add_where_you_paint",
  "sam3_edit_by_segmentation",
  "demo_image_edit",
  "demo_compare_presets",
  "demo_two_edits_from_one_inversion",
  "sd15_edit_with_lora_and_controlnet",
  "demo_p2p_word_swap",
  "demo_p2p_refine",
  "demo_p2p_reweight",
  "demo_p2p_style",
  "sd15_video_p2p",
  "demo_edit_with_tuned_model",
  "sd15_edit_with_tuned_model",
  "demo_tune_and_edit_shape",
  "sd15_tune_and_edit_shape",
  "demo_p2p_whole",
  "sd15_video_p2p_whole",
  "demo_tune_a_video_ddim",
  "sd15_tune_a_video_ddim",
  "demo_edit_with_video_transformer",
  "wan_edit_your_clip",
  "ltx_edit_your_clip",
  "demo_invert_with_video_transformer",
  "wan_invert_and_edit",
];
const place = (name) => (ORDER.indexOf(name) + ORDER.length + 1) % (ORDER.length + 1);

const { getWorkflowTemplates } = api;
api.getWorkflowTemplates = async function () {
  const templates = await getWorkflowTemplates.apply(this, arguments);
  templates.fatezero?.sort((one, other) => place(one) - place(other) || one.localeCompare(other));
  return templates;
};
