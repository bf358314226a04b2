"""Edits of attention, layouts, rows and conditioning."""

from .edit import edits_of

PACKAGE = "relationbooth_pipeline"
TESTS = "tests/relationbooth_pipeline"
ATTENTION = f"{TESTS}/laws/test_attention_laws.py"
LAYOUT = f"{TESTS}/laws/test_layout_laws.py"
ROWS = f"{TESTS}/whole/test_rows.py"
REFUSALS = f"{TESTS}/whole/test_rows_refusals.py"
CALL = f"{TESTS}/whole/test_pipeline_call.py"
OWN_KEYS = f"{ATTENTION}::test_every_layer_reads_its_own_key_and_value"
TEXT_MAPS = f"{ATTENTION}::test_automatic_layout_sees_the_first_reading_part_s_text_probabilities"
FORMULA = f"{LAYOUT}::test_automatic_layout_is_its_formula"
READERS = f"{ROWS}::test_the_rows_of_the_prompt_read_image_prompts_and_no_others"

EDITS = [
    *edits_of(
        f"{PACKAGE}/relation_attention.py",
        {
            "all layers read the first one's K and V": (
                "layers.index_select(1, self.layer_index)[:, 0]", "layers[:, 0]", OWN_KEYS),
            "layers of one width are not counted up": (
                "seen[width] = seen.get(width, 0) + 1", "seen[width] = seen.get(width, 0)", OWN_KEYS),
            "layers of all widths are counted together": (
                "seen[width] = seen.get(width, 0) + 1", "seen = dict.fromkeys((16, 32), seen.get(width, 0) + 1)",
                OWN_KEYS),
            "layers in the UNet's order instead of by path": (
                "paths = sorted(name", "paths = list(name", OWN_KEYS),
            "K and V change places": (".to(query.dtype).unbind(0)", ".to(query.dtype).flip(0).unbind(0)", OWN_KEYS),
            "rows that read nothing keep the kernel's answer": (
                "torch.addcmul(part, image, inside)", "part + image", OWN_KEYS),
            "the image branch replaces the text branch": (
                "torch.addcmul(part, image, inside)", "image * inside", OWN_KEYS),
            "every part reads image prompts": (
                "            if is_reading:\n", "            if True:\n",
                f"{TESTS}/test_relation_attention.py::test_exactly_the_parts_that_read_image_prompts_do"),
            "masked text is read": (
                "text_value, attn_mask=attention_mask)", "text_value)",
                f"{ATTENTION}::test_text_that_is_masked_stays_unread_beside_image_prompts"),
            "blocks left out get the full scale": (
                "default_scale=0.0", "default_scale=1.0", f"{REFUSALS}::test_a_scale_for_each_block"),
            "a replaced processor goes unnoticed": (
                "if path not in ours:", "if False:",
                f"{REFUSALS}::test_processors_replaced_after_preparation_are_noticed"),
            "fused text is projected by the old matrices": (
                "attn.to_kv(states).chunk(2, dim=-1)", "(attn.to_k(states), attn.to_v(states))",
                f"{REFUSALS}::test_fused_projections_and_default_processors_leave_image_prompts_alone"),
            "the hook stays after removal": (
                "            del unet._forward_pre_hooks[number]\n", "            pass\n",
                f"{REFUSALS}::test_another_unet_is_refused"),
        },
    ),
    *edits_of(
        f"{PACKAGE}/relation_layouts.py",
        {
            "image prompts act one call longer": (
                "(call + 1) / calls <= end", "call / calls <= end",
                f"{ROWS}::test_image_prompts_act_between_two_shares_of_the_steps"),
            "image prompts act one call late": (
                "call / calls >= start", "call / calls > start",
                f"{ROWS}::test_image_prompts_act_between_two_shares_of_the_steps"),
            "a row that reads nothing is given to the kernel closed": (
                "inside & ~allowed", "~allowed",
                f"{ATTENTION}::test_no_kernel_is_given_a_row_that_may_read_nothing"),
            "the layout's scores are not scaled": ("(query * query.shape[-1] ** -0.5) @", "query @", TEXT_MAPS),
            "the scale comes after the product": (
                "(query * query.shape[-1] ** -0.5) @ text_key.transpose(-1, -2)",
                "(query @ text_key.transpose(-1, -2)) * query.shape[-1] ** -0.5", TEXT_MAPS),
            "maps are cut where they lie": (
                "(mean - low) / (high - low + 1e-5)", "mean", FORMULA),
            "maps are not moved to zero": ("(mean - low) / (high", "mean / (high", FORMULA),
            "maps are not stretched to one": ("(mean - low) / (high - low + 1e-5)", "(mean - low)", FORMULA),
            "the denominator has no offset": ("(high - low + 1e-5)", "(high - low).clamp(min=1e-20)", FORMULA),
            "the threshold is fixed": ("> self.mask_threshold", "> 0.5", FORMULA),
            "only the latest call counts": ("total + maps)\n", "maps * (count + 1))\n", FORMULA),
            "maps are summed, not averaged": ("mean = total / count", "mean = total", FORMULA),
            "maps act one call late": ("if count < self.start_step", "if count <= self.start_step", FORMULA),
            "one sum for all layers": (
                "self._sums.get(layer, (0, 0.0))\n        count, total = self._sums[layer]",
                "self._sums.get(0, (0, 0.0))\n        count, total = self._sums[0]",
                f"{TESTS}/test_relation_regions.py::test_automatic_layout_keeps_layers_apart_and_starts_when_told"),
            "a span's end counts": ("tokens < spans[..., 1:]", "tokens <= spans[..., 1:]", FORMULA),
            "tokens of a phrase add up": (
                "weights = inside / inside.sum(-1, keepdim=True).clamp(min=1)", "weights = inside.float()",
                f"{LAYOUT}::test_a_phrase_s_map_is_the_mean_over_its_tokens_and_the_heads"),
            "one head decides": (
                "text_probabilities.mean(1) @", "text_probabilities[:, 0] @", FORMULA),
            "background tokens never act in found regions": (
                "token_masks(regions, self.tokens_per_object, self.background_tokens)",
                "token_masks(regions, self.tokens_per_object, 0)",
                f"{LAYOUT}::test_background_tokens_act_where_the_found_regions_are_not"),
            "columns fill the whole height": (
                "[[i / count, 0.1, (i + 1) / count, 0.9]", "[[i / count, 0.0, (i + 1) / count, 1.0]",
                f"{LAYOUT}::test_side_by_side_is_columns_over_the_middle_of_the_height"),
            "a prior for another number of objects is used": (
                "if prior and len(prior) == count:", "if prior:",
                f"{LAYOUT}::test_a_layout_prior_counts_for_its_own_number_of_objects"),
        },
    ),
    *edits_of(
        f"{PACKAGE}/relation_regions.py",
        {
            "a box without area covers a cell": (
                "torch.maximum(last, first + 1), first)", "torch.maximum(last, first + 1), last)",
                f"{LAYOUT}::test_a_box_without_area_covers_nothing_and_is_refused"),
            "boxes without area are accepted": (
                "if box[0] >= box[2] or box[1] >= box[3]", "if box[0] > box[2] or box[1] > box[3]",
                f"{LAYOUT}::test_a_box_without_area_covers_nothing_and_is_refused"),
            "a thin box covers nothing": (
                "torch.maximum(last, first + 1), first)", "last, first)",
                f"{TESTS}/test_relation_regions.py::test_a_thin_box_covers_the_cell_that_it_lies_in"),
            "edges are rounded to the nearest cell": (
                "on_grid(stop, size).ceil()", "on_grid(stop, size).round()",
                f"{TESTS}/test_relation_regions.py::test_region_masks_match_a_loop_on_a_grid_that_is_not_square"),
            "rounding moves an edge across a border": (
                "< 3e-5, place.round(), place)", "< 0, place.round(), place)",
                f"{LAYOUT}::test_an_edge_within_rounding_of_a_cell_border_lies_on_it"),
            "width and height change places": (
                "covered(y0, y1, height)[..., :, None] & covered(x0, x1, width)[..., None, :]",
                "covered(x0, x1, height)[..., :, None] & covered(y0, y1, width)[..., None, :]", OWN_KEYS),
            "grids round down": (
                "-(-height // 2), -(-width // 2)", "height // 2, width // 2",
                f"{LAYOUT}::test_levels_of_odd_sizes_round_up"),
            "background tokens are read everywhere": (
                "background = ~flat.any(2, keepdim=True)", "background = flat.any(2, keepdim=True) | True", OWN_KEYS),
            "tokens of the objects alternate": (
                "flat.repeat_interleave(tokens_per_object, dim=2)", "flat.repeat(1, 1, tokens_per_object)", OWN_KEYS),
            "a mask's far pixels lie outside its box": (
                "last = size - occupied.flip(-1)", "last = size - 1 - occupied.flip(-1)",
                f"{TESTS}/test_relation_regions.py::test_the_last_row_and_column_belong_to_a_full_mask"),
        },
    ),
    *edits_of(
        f"{PACKAGE}/relation_adapter.py",
        {
            "the scale multiplies K too": (
                "key, value = layer.to_k(tokens), layer.to_v(tokens) * weights[..., None]",
                "key, value = (m(tokens) * weights[..., None] for m in (layer.to_k, layer.to_v))",
                f"{ATTENTION}::test_the_image_scale_multiplies_values_and_never_keys"),
            "a layer's factor multiplies K": (
                "value = value * layer_scales", "key = key * layer_scales",
                f"{ATTENTION}::test_the_image_scale_multiplies_values_and_never_keys"),
            "scales of the objects alternate": (
                "repeat_interleave(self.tokens_per_object, dim=1)", "repeat(1, self.tokens_per_object)",
                f"{ATTENTION}::test_the_image_scale_multiplies_values_and_never_keys"),
            "the adapter's layers in another order": (
                "in sorted(layer_widths.items())", "in sorted(layer_widths.items(), reverse=True)", OWN_KEYS),
            "background tokens have the least scale": ("weights.amax(1", "weights.amin(1", OWN_KEYS),
            "background tokens come last": (
                "torch.cat([self.background_tokens.to(tokens.dtype).expand(batch, -1, -1), tokens], dim=1)",
                "torch.cat([tokens, self.background_tokens.to(tokens.dtype).expand(batch, -1, -1)], dim=1)", OWN_KEYS),
            "grounding is dropped of other samples' objects": (
                "drop_grounding.repeat_interleave(objects)", "drop_grounding.repeat(objects)",
                f"{ATTENTION}::test_grounding_is_dropped_for_all_objects_of_a_sample_and_for_no_others"),
            "absent objects are read": (
                "regions = regions & present.to(regions.device)[..., None, None]", "regions = regions | False",
                f"{LAYOUT}::test_absent_objects_are_read_nowhere"),
        },
    ),
    *edits_of(
        f"{PACKAGE}/relation_rows.py",
        {
            "the unconditional part reads": (
                '"unconditional": False', '"unconditional": True', f"{READERS}[text-5.0]"),
            "the perturbed part reads nothing": ('"perturbed": True', '"perturbed": False', f"{READERS}[pag-5.0]"),
            "the picture's part reads": ('"picture": False', '"picture": True', f"{READERS}[instruct pix2pix-5.0]"),
            "the conditional part comes first": (
                '("unconditional", "conditional"), ("conditional",)',
                '("conditional", "unconditional"), ("conditional",)',
                f"{READERS}[image to image-5.0]"),
            "InstructPix2Pix's parts in another order": (
                '("conditional", "picture", "unconditional") if', '("unconditional", "picture", "conditional") if',
                f"{READERS}[instruct pix2pix-5.0]"),
            "guidance of 1 has two parts": (
                "pipeline.guidance_scale <= 1", "pipeline.guidance_scale < 1", f"{READERS}[text-1.0]"),
            "no part is perturbed": (
                "if is_perturbing and pipeline", "if not is_perturbing and pipeline", f"{READERS}[pag-5.0]"),
            "automatic layout looks at the last part": ("part = states.reads.index(True)", "part = -1", TEXT_MAPS),
            "another number of rows is accepted": (
                "if sample.shape[0] != rows * len(roles)", "if sample.shape[0] % rows",
                f"{REFUSALS}::test_another_batch_or_size_is_refused"),
            "exchanged sides are accepted": (
                "(None, (height, width))", "(None, (height, width), (width, height))",
                f"{REFUSALS}::test_another_batch_or_size_is_refused"),
            "another UNet is accepted": (
                "if unet is not self.unet", "if False", f"{REFUSALS}::test_another_unet_is_refused"),
            "two pictures pass for two halves": (
                'if self.is_told and "unconditional" in roles', "if False",
                f"{REFUSALS}::test_another_batch_or_size_is_refused"),
        },
    ),
    *edits_of(
        f"{PACKAGE}/relation_conditioning.py",
        {
            "pictures of the prompts alternate": (
                "repeat_interleave(count, dim=dim)", "repeat(*[count if d == dim else 1 for d in range(tensor.ndim)])",
                f"{CALL}::test_several_images_per_prompt"),
            "automatic layout may start too late": (
                "(max(1, steps // 2) if is_unplaced else steps)", "steps",
                f"{TESTS}/laws/test_pipeline_laws.py::test_automatic_layout_starts_by_half_of_the_steps"),
            "automatic layout counts steps in which image prompts do not act": (
                "len(acting_calls(inputs.image_prompt_start, inputs.image_prompt_end, calls))", "calls",
                f"{ROWS}::test_automatic_layout_acts_in_time"),
        },
    ),
]  # fmt: skip
