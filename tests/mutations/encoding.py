"""Edits of what encodes image prompts, and of files: images, encoders, resampler, safe writing."""

from .core import PACKAGE, TESTS
from .edit import edits_of

OWN = "tests/golden/test_own.py::test_the_package_reproduces_every_output"
RESAMPLER, LOCAL = f"{OWN}[resampler]", f"{OWN}[local_tokens]"
PIPELINE = f"{TESTS}/laws/test_pipeline_laws.py"
ENCODED = f"{PIPELINE}::test_encoded_image_prompts_are_penultimate_states_pooled_phrases_and_local_tokens"
JOINED = f"{PIPELINE}::test_local_tokens_add_patch_by_patch_in_the_linear_injection"
FILES = f"{TESTS}/test_relation_files.py"

EDITS = [
    *edits_of(
        f"{PACKAGE}/relation_resampler.py",
        {
            "queries are not among the keys": (
                "self.to_kv(torch.cat([tokens, queries], dim=1))", "self.to_kv(tokens)", RESAMPLER),
            "attention has no residual": (
                "queries = queries + self.attention(tokens, queries)", "queries = self.attention(tokens, queries)",
                RESAMPLER),
            "the feed-forward net has no residual": (
                "return queries + self.feed_forward(queries)", "return self.feed_forward(queries)", RESAMPLER),
            "keys and values of the resampler change places": (
                "self.to_q(queries), key, value))", "self.to_q(queries), value, key))", RESAMPLER),
            "tokens and queries share a norm": (
                "self.norm_tokens(tokens), self", "self.norm_queries(tokens), self", RESAMPLER),
            "frequencies of a transformer": ("FOURIER_TEMPERATURE = 100 ", "FOURIER_TEMPERATURE = 10_000 ", RESAMPLER),
            "cosine before sine": (
                "torch.cat([angles.sin(), angles.cos()]", "torch.cat([angles.cos(), angles.sin()]", RESAMPLER),
            "boxes are embedded in half precision": (
                "angles = boxes.float()[", "angles = boxes.half().float()[", RESAMPLER),
            "made queries are not normalised": (
                "self.query_norm(self.query_proj(grounding).unflatten(-1, (self.config.num_queries, -1)))",
                "self.query_proj(grounding).unflatten(-1, (self.config.num_queries, -1))", RESAMPLER),
            "learned queries where grounding is kept": (
                "self.grounding_latents, queries)", "queries, self.grounding_latents)", RESAMPLER),
            "box before phrase": ("[phrase_embeds, places]", "[places, phrase_embeds]", RESAMPLER),
            "the last layer is skipped": ("for layer in self.layers:", "for layer in self.layers[:-1]:", RESAMPLER),
            "tokens leave without the last norm": (
                "self.norm_out(self.proj_out(self.attention_norm(queries)))",
                "self.proj_out(self.attention_norm(queries))", RESAMPLER),
            "local tokens row by row": (
                "cell[None, :] * cells + cell[:, None]", "cell[:, None] * cells + cell[None, :]", JOINED),
            "the class token gets a cell": ("(0, 0, 1, 0))", "(0, 0, 0, 1))", JOINED),
            "linear injection without the image tokens": (
                "return self.proj_in(image_tokens) + self", "return self", JOINED),
        },
    ),
    *edits_of(
        f"{PACKAGE}/relation_images.py",
        {
            "samples lie half a cell off": ("start[..., None] - 0.5 +", "start[..., None] +", LOCAL),
            "one sample for each cell of the map": (
                "samples = length.ceil().clamp(min=1)", "samples = length.floor().clamp(min=1)", LOCAL),
        },
    ),
    *edits_of(
        f"{PACKAGE}/relation_image_encoder.py",
        {
            "cells row by row": (
                'x0, y0 = torch.meshgrid(edges, edges, indexing="ij")',
                'y0, x0 = torch.meshgrid(edges, edges, indexing="ij")', LOCAL),
            "the last block has no residual": (
                "states = states + attention.out_proj(", "states = attention.out_proj(", LOCAL),
            "learned positions are read past their layer": (
                "self.position_embedding(self.position_ids)", "self.position_embedding.weight[None]",
                "tests/relationbooth_pipeline/whole/test_offloading.py::test_no_layer_s_weights_are_read_past_the_layer"),
            "the class token stays": ("(states[:, 1:])", "(states[:, :-1])", LOCAL),
            "features keep their length": ("states = F.normalize(states, dim=-1)", "pass", LOCAL),
            "the projection is always applied": ("        if project:\n", "        if True:\n", f"{OWN}[local_tokens]"),
            "rows and columns of the map change places": (
                "(height // patch, width // patch))", "(width // patch, height // patch)).transpose(-1, -2)", LOCAL),
            "the image encoder's last states": (".hidden_states[-2]", ".hidden_states[-1]", ENCODED),
            "phrases by their last token's state": (
                "_execution_device)).pooler_output", "_execution_device)).last_hidden_state[:, -1]", ENCODED),
            "every object the first image": (
                "full[present.to(rows.device)] = rows", "full[present.to(rows.device)] = rows[:1]", ENCODED),
            "local tokens of an ordinary size": (
                "adapter.config.local_image_size)", "local.config.image_size * 2)", ENCODED),
        },
    ),
    *edits_of(
        f"{PACKAGE}/relation_files.py",
        {
            "the name reaches the disk before a file's data": (
                "        flush(temporary)\n", "", f"{FILES}::test_data_reaches_the_disk_before_the_name"),
            "the name of a file is not flushed": (
                "        temporary.unlink(missing_ok=True)\n    flush(path.parent)",
                "        temporary.unlink(missing_ok=True)", f"{FILES}::test_data_reaches_the_disk_before_the_name"),
            "the name reaches the disk before a folder's data": (
                "            flush(entry)\n", "            pass\n",
                f"{FILES}::test_everything_in_a_folder_reaches_the_disk_before_its_name"),
            "the old folder goes before the new one is there": (
                "            os.replace(path, old)\n", "            shutil.rmtree(path)\n",
                f"{FILES}::test_a_failure_leaves_the_old_folder_and_nothing_else"),
            "the old folder does not come back": (
                "            if old.exists():\n                os.replace(old, path)\n", "",
                f"{FILES}::test_a_failure_leaves_the_old_folder_and_nothing_else"),
            "files keep their writer's permissions": (
                "        os.chmod(temporary, mode)\n", "",
                f"{FILES}::test_a_file_appears_whole_with_ordinary_permissions"),
            "anything in a pickle is a checkpoint": (
                "if not isinstance(state, dict):", "if state is None:",
                f"{FILES}::test_what_is_no_dict_of_tensors_is_no_checkpoint"),
            "files are flushed by read-only descriptors": (
                "else os.O_RDWR)", "else os.O_RDONLY)",
                f"{FILES}::test_a_flush_works_where_a_read_only_descriptor_cannot_be_flushed"),
        },
    ),
]  # fmt: skip
