import { api } from "../../scripts/api.js";

// The template browser shows a pack's workflows by their file names, in the order in which the server happens to find
// them. This is the order for someone who begins; what is not named here follows.
const ORDER = [
  "fatezero_video_edit_demo_color_edit",
  "fatezero_video_edit_sd15_edit_your_clip",
  "fatezero_video_edit_demo_style_edit",
  "fatezero_video_edit_demo_shape_edit_with_mask",
  "fatezero_video_edit_demo_edit_where_you_paint",
  "fatezero_video_edit_demo_add_where_you_paint",
  "fatezero_video_edit_demo_replace_one_of_two",
  "fatezero_video_edit_sam3_edit_by_segmentation",
  "fatezero_video_edit_demo_image_edit",
  "fatezero_video_edit_demo_compare_presets",
  "fatezero_video_edit_demo_two_edits_from_one_inversion",
  "fatezero_video_edit_sd15_edit_with_lora_and_controlnet",
  "fatezero_video_edit_demo_p2p_word_swap",
  "fatezero_video_edit_demo_p2p_refine",
  "fatezero_video_edit_demo_p2p_reweight",
  "fatezero_video_edit_demo_p2p_style",
  "fatezero_video_edit_sd15_video_p2p",
  "fatezero_video_edit_demo_edit_with_tuned_model",
  "fatezero_video_edit_sd15_edit_with_tuned_model",
  "fatezero_video_edit_demo_tune_and_edit_shape",
  "fatezero_video_edit_sd15_tune_and_edit_shape",
  "fatezero_video_edit_demo_p2p_whole",
  "fatezero_video_edit_sd15_video_p2p_whole",
  "fatezero_video_edit_demo_tune_a_video_ddim",
  "fatezero_video_edit_sd15_tune_a_video_ddim",
  "fatezero_video_edit_demo_edit_with_video_transformer",
  "fatezero_video_edit_wan_edit_your_clip",
  "fatezero_video_edit_ltx_edit_your_clip",
  "fatezero_video_edit_demo_invert_with_video_transformer",
  "fatezero_video_edit_wan_invert_and_edit",
  "fatezero_video_edit_wan22_14b_invert_and_edit",
];
const place = (name) => (ORDER.indexOf(name) + ORDER.length + 1) % (ORDER.length + 1);

const { getWorkflowTemplates } = api;
api.getWorkflowTemplates = async function () {
  const templates = await getWorkflowTemplates.apply(this, arguments);
  templates.fatezero?.sort((one, other) => place(one) - place(other) || one.localeCompare(other));
  return templates;
};
