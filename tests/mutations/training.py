"""Edits of what training programs share, and of RelationLoRA and encoder training."""

from .edit import edits_of

TESTS = "tests/training"
STEP = f"{TESTS}/laws/test_step_laws.py"
VIEWS = f"{TESTS}/laws/test_view_laws.py"
RUN = f"{TESTS}/laws/test_run_laws.py"
LOSSES = f"{TESTS}/lora/test_losses.py"
EQUATIONS = f"{STEP}::test_the_loss_is_its_equations"
TIME_IDS = f"{VIEWS}::test_time_ids_are_original_size_crop_and_size_each_height_first"
OWN_LOSSES = "tests/golden/test_own.py::test_the_package_reproduces_every_output[kml]"
MOVED = f"{RUN}::test_what_makes_a_result_loadable_goes_first_and_comes_last"
SEALED = f"{RUN}::test_a_checkpoint_s_data_reaches_the_disk_before_its_name_and_old_ones_go_last"

EDITS = [
    *edits_of(
        "training/lora/losses.py",
        {
            "signal and noise change places": (
                "return (noisy_latents - (1 - alpha).sqrt() * model_output) / alpha.sqrt()",
                "return (noisy_latents - alpha.sqrt() * model_output) / (1 - alpha).sqrt()", OWN_LOSSES),
            "ᾱ instead of its root": (
                "* model_output) / alpha.sqrt()", "* model_output) / alpha", OWN_LOSSES),
            "velocity is read as noise": (
                "return alpha.sqrt() * noisy_latents - (1 - alpha).sqrt() * model_output",
                "return (noisy_latents - (1 - alpha).sqrt() * model_output) / alpha.sqrt()",
                f"{LOSSES}::test_a_perfect_prediction_gives_the_clean_latents"),
            "x scales with the height": (
                "torch.tensor([width, height]", "torch.tensor([height, width]", OWN_LOSSES),
            "keypoints are rounded": (
                "(keypoints.float() * size).long()", "(keypoints.float() * size).round().long()", OWN_LOSSES),
            "a coordinate of 1 overruns": (".minimum(size - 1)", ".minimum(size)",
                f"{LOSSES}::test_bounds_lie_in_the_first_and_last_cell"),
            "squares are summed over channels": (
                "prompt_features.float()).square().mean(-1)", "prompt_features.float()).square().sum(-1)", OWN_LOSSES),
            "invisible keypoints count": (
                "values.masked_fill(~is_visible, 0.0)", "values",
                f"{LOSSES}::test_invisible_keypoints_may_be_anything"),
            "the mean is over all keypoints": (
                "is_visible.flatten(1).sum(1).clamp(min=1)", "is_visible.flatten(1).shape[1]",
                f"{LOSSES}::test_it_matches_plain_loops"),
            "nothing visible is no number": (
                ".sum(1).clamp(min=1)", ".sum(1)", f"{LOSSES}::test_nothing_visible_is_zero_with_zero_gradient"),
            "the gate leaves its last timestep out": (
                "(timesteps <= max_timestep)", "(timesteps < max_timestep)", OWN_LOSSES),
            "an infinite loss of weight 0 counts": (
                "zip(weights, terms) if weight)", "zip(weights, terms))",
                f"{LOSSES}::test_the_loss_is_the_weighted_sum_and_weight_zero_leaves_a_term_out"),
            "attention on the objects is punished": (
                "mean(1 - inside) - mean(inside)", "mean(inside) - mean(1 - inside)", OWN_LOSSES),
        },
    ),
    *edits_of(
        "training/lora/loss_terms.py",
        {
            "the keypoint loss is always the paper's": (
                'keypoint_loss == "denoising"', 'keypoint_loss == "denoised"',
                f"{TESTS}/lora/test_step.py::test_a_perfect_answer_loses_nothing_by_the_denoising_error_at_keypoints"),
            "the error at keypoints knows no gate": (
                "return gate * keypoint_denoising", "return keypoint_denoising",
                f"{TESTS}/lora/test_step.py::test_a_perfect_answer_loses_nothing_by_the_denoising_error_at_keypoints"),
            "the scalar loss knows no gate": ("return gate * keypoint_matching", "return keypoint_matching", EQUATIONS),
            "KML is gated by itself": (
                "step.last_timestep if limit is None else limit", "333 if limit is None else limit",
                f"{TESTS}/lora/test_step.py::test_the_gate_is_per_sample"),
        },
    ),
    *edits_of(
        "training/lora/step.py",
        {
            "latents are the posterior's mean": (
                "batch.latent_mean + batch.latent_std * posterior_noise", "batch.latent_mean", EQUATIONS),
            "one noise for both": ("batch.latent_std * posterior_noise", "batch.latent_std * noise", EQUATIONS),
            "the clean estimate is of the clean latents": (
                "predict_clean_latents(noisy, output", "predict_clean_latents(latents, output", EQUATIONS),
            "the loss is summed over the batch": ("return each.mean(), {", "return each.sum(), {", EQUATIONS),
            "the scores of the predicate are not scaled": (
                "((query * attn.scale) @ key", "(query @ key",
                f"{TESTS}/lora/test_step.py::test_predicate_maps_equal_explicit_attention"),
            "LoRA on three of four matrices": (
                '("to_q", "to_k", "to_v", "to_out.0")', '("to_q", "to_k", "to_v")',
                f"{TESTS}/lora/test_step.py::test_sdxl_has_3_1_million_lora_weights"),
        },
    ),
    *edits_of(
        "training/lora/cache.py",
        {
            "SDXL is told width before height": (
                "[*view.original_size, *view.crop_top_left, *size]",
                "[*view.original_size[::-1], *view.crop_top_left, *size]", TIME_IDS),
            "SDXL is told no crop": (
                "*view.crop_top_left, *size]]", "0, 0, *size]]", TIME_IDS),
            "keypoints count when either sees them": (
                "(view.keypoints[..., 2] > 0)[None] & prompts", "(view.keypoints[..., 2] > 0)[None] | prompts",
                f"{TESTS}/lora/test_cache.py::test_invisible_in_either_is_invisible"),
            "image prompts are squashed for the VAE": (
                "round(side * scale / 8) * 8) for side", "resolution) for side",
                f"{TESTS}/lora/test_cache.py::test_image_prompts_keep_their_shape"),
        },
    ),
    *edits_of(
        "training/adapter/samples.py",
        {
            "the adapter's SDXL is told the crop left before top": (
                "*view.crop_top_left, *view.pixels", "*view.crop_top_left[::-1], *view.pixels", TIME_IDS),
        },
    ),
    *edits_of(
        "training/common/diffusion.py",
        {
            "zero terminal SNR weighs nothing": ("nan_to_num(1.0)", "nan_to_num(0.0)",
                f"{STEP}::test_min_snr_weights_at_zero_terminal_snr"),
            "zero terminal SNR is no number": (".nan_to_num(1.0)", "",
                f"{STEP}::test_min_snr_weights_at_zero_terminal_snr"),
            "min-SNR from below": ("snr.clamp(max=snr_gamma)", "snr.clamp(min=snr_gamma)",
                f"{STEP}::test_min_snr_weights_at_zero_terminal_snr"),
            "velocity weighs as noise": ('"v_prediction": snr + 1', '"v_prediction": snr',
                f"{STEP}::test_min_snr_weights_at_zero_terminal_snr"),
            "samples are predicted as noise": ('"sample": latents}', '"sample": noise}',
                f"{STEP}::test_the_target_is_what_the_scheduler_says"),
        },
    ),
    *edits_of(
        "training/common/latents.py",
        {
            "the deviation is not scaled": ("posterior.std.float() * factor", "posterior.std.float()",
                f"{STEP}::test_mean_and_deviation_of_the_posterior_are_both_scaled"),
            "the mean is not scaled": ("posterior.mean.float() * factor,", "posterior.mean.float(),",
                f"{STEP}::test_mean_and_deviation_of_the_posterior_are_both_scaled"),
            "a cell's sides change places": ("[1 / width, 1 / height]", "[1 / height, 1 / width]",
                f"{STEP}::test_a_box_that_a_crop_cut_away_keeps_a_cell"),
        },
    ),
    *edits_of(
        "training/common/views.py",
        {
            "a crop keeps half of an object": (
                "LEAST_KEPT = 0.8", "LEAST_KEPT = 0.5",
                f"{VIEWS}::test_a_random_crop_keeps_at_least_four_fifths_of_every_object"),
            "a crop keeps nearly everything": (
                "LEAST_KEPT = 0.8", "LEAST_KEPT = 0.95",
                f"{VIEWS}::test_a_random_crop_keeps_at_least_four_fifths_of_every_object"),
            "the best kept object counts": (
                ".prod(1)).min().item()", ".prod(1)).max().item()",
                f"{VIEWS}::test_a_random_crop_keeps_at_least_four_fifths_of_every_object"),
            "the worst draw is taken": (
                "if kept > best_kept:", "if kept < best_kept or best is None:",
                f"{VIEWS}::test_where_no_draw_keeps_enough_the_best_is_taken"),
            "one draw is enough": (
                "CROP_DRAWS = 10", "CROP_DRAWS = 1",
                f"{VIEWS}::test_where_no_draw_keeps_enough_the_best_is_taken"),
            "views are never mirrored": (
                "rng.random() < 0.5)", "rng.random() < 0)",
                f"{VIEWS}::test_half_of_the_views_are_mirrored_when_that_is_asked"),
            "a mirrored crop reports the unmirrored corner": (
                "        left = image.width - right\n", "        pass\n", TIME_IDS),
            "left before top": (
                "crop_top_left=(round(top * scale), round(left * scale))",
                "crop_top_left=(round(left * scale), round(top * scale))", TIME_IDS),
            "corners in pixels of the file": (
                "scale = size[0] / (right - left)", "scale = 1.0", TIME_IDS),
            "width before height": (
                "original_size=(image.height, image.width)", "original_size=(image.width, image.height)", TIME_IDS),
            "mirrored keypoints keep their names": (
                "keypoints = keypoints[:, mirrored_order(triplet.keypoint_order)]", "pass",
                f"{TESTS}/common/test_views.py::test_a_mirrored_view_keeps_anatomy"),
            "keypoints outside the view are visible": (
                "inside = ((points >= 0) & (points <= 1)).all(-1) & (", "inside = (",
                f"{TESTS}/common/test_views.py::test_keypoints_go_where_their_pixels_go"),
        },
    ),
    *edits_of(
        "training/common/batch_order.py",
        {
            "items are not shuffled": (
                "order = rng.sample(items, len(items))", "order = list(items)",
                f"{RUN}::test_every_epoch_has_an_order_of_its_own"),
            "all epochs are the first": (
                'f"epoch {self.seed} {epoch}"', 'f"epoch {self.seed}"',
                f"{RUN}::test_every_epoch_has_an_order_of_its_own"),
            "sizes come one after the other": (
                "        rng.shuffle(batches)\n", "", f"{RUN}::test_batches_of_several_sizes_are_mixed"),
            "the first view always": (
                "rng.randrange(self.views)", "0", f"{RUN}::test_views_and_seeds_vary"),
            "one seed for all draws of a step": (
                "rng.getrandbits(62)) for item", "step) for item", f"{RUN}::test_views_and_seeds_vary"),
            "a last batch repeats one item": (
                "order[i % len(order)] for i", "order[min(i, len(order) - 1)] for i",
                f"{RUN}::test_a_bucket_s_last_batch_is_filled_from_its_front"),
            "the posterior's noise is the noise": (
                "rows.append((noise, posterior,", "rows.append((noise, noise,",
                f"{RUN}::test_noise_the_posterior_s_noise_and_timesteps_are_three_draws"),
        },
    ),
    *edits_of(
        "training/common/checkpoints.py",
        {
            "the old result loads beside new files": (
                "    (folder / last).unlink(missing_ok=True)\n", "", MOVED),
            "what makes a result loadable comes first": (
                "key=lambda path: (path.name == last, path.name)", "key=lambda path: (path.name != last, path.name)",
                MOVED),
            "a result's name precedes its data": (
                '    for path in [*fresh.rglob("*"), fresh]:\n        flush(path)\n', "", MOVED),
            "a checkpoint's name precedes its data": (
                "        for path in [*files, folder / MANIFEST, folder]:\n            flush(path)\n", "", SEALED),
            "a checkpoint's name is not flushed": (
                "        os.replace(folder, final)\n        flush(self.output_dir)\n",
                "        os.replace(folder, final)\n", SEALED),
            "the newest checkpoints go": (
                "written[: -self.total_limit]", "written[self.total_limit :]", SEALED),
            "a damaged checkpoint is resumed": (
                "sha256(folder / name) != sums[name]", "False",
                f"{TESTS}/common/test_checkpoints.py::test_a_damaged_newest_is_reported_and_passed_over"),
        },
    ),
    *edits_of(
        "training/adapter/step.py",
        {
            "both are dropped never": (
                "return keep_image & ~both, keep_text & ~both,", "return keep_image, keep_text,",
                f"{TESTS}/adapter/test_step.py::test_dropouts_have_their_shares"),
            "dropped text keeps its pooled part": (
                '"text_embeds": batch["pooled"] * text[:, None]', '"text_embeds": batch["pooled"]',
                f"{TESTS}/adapter/test_step.py::test_dropped_text_is_zeros"),
            "local tokens of a dropped image stay": (
                "None if local_tokens is None else local_tokens * kept", "local_tokens",
                f"{TESTS}/adapter/test_step.py::test_dropped_image_prompts_are_not_seen"),
        },
    ),
]  # fmt: skip
