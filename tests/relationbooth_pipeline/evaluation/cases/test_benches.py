"""Readers of public benches, on folders laid out as published."""

import json
from collections import Counter

import pytest

from relationbooth_pipeline.evaluation.benches import BENCHES, open_cases, read_bench
from relationbooth_pipeline.evaluation.benches.folders import fill_slots
from relationbooth_pipeline.evaluation.cases import CaseFile, case_predicate
from tests.tiny import photo

PROMPTS = """Classes
subject_name,class
backpack_dog,backpack
bear_plushie,stuffed animal
cat2,cat

Object Prompts
prompt_list = [
'a {0} {1} in the jungle'.format(unique_token, class_token),
'a red {0} {1}'.format(unique_token, class_token),
]

Live Subject Prompts
prompt_list = [
'a {0} {1} wearing a red hat'.format(unique_token, class_token),
]
"""


def photos(folder, *names, count=2, suffix=".jpg"):
    for number, name in enumerate(names):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for k in range(count):
            photo(10 * number + k).save(folder / name / f"{k:02d}{suffix}")


def checked(cases):
    return CaseFile(tuple(cases), open_cases("miniature").folder).check().cases


@pytest.fixture
def dreambench(tmp_path):
    photos(tmp_path / "dataset", "backpack_dog", "bear_plushie", "cat2")
    (tmp_path / "dataset" / "prompts_and_classes.txt").write_text(PROMPTS, encoding="utf-8")
    return tmp_path / "dataset"


def test_dreambench_takes_each_subject_s_own_prompt_list(dreambench):
    cases = checked(read_bench("dreambench", [dreambench]))
    assert [(case.id, case.prompt) for case in cases] == [
        ("backpack_dog-00", "a backpack in the jungle"),
        ("backpack_dog-01", "a red backpack"),
        ("bear_plushie-00", "a stuffed animal in the jungle"),
        ("bear_plushie-01", "a red stuffed animal"),
        ("cat2-00", "a cat wearing a red hat"),
    ]
    assert cases[2].phrases == ("stuffed animal",) and len(cases[2].references[0]) == 2


def test_dreambench_s_lists_name_one_fixed_photo(dreambench):
    entries = [
        {
            "prompt": "a backpack and a stuffed animal in the jungle",
            "image_paths": ["./dataset/backpack_dog/01.jpg", "./dataset/bear_plushie/00.jpg"],
        },
        {"prompt": "a cat in the snow", "image_paths": ["./dataset/cat2/01.jpg"]},
    ]
    path = dreambench.parent / "list.json"
    path.write_text(json.dumps(entries), encoding="utf-8")
    first, second = checked(read_bench("dreambench-json", [path]))
    assert first.phrases == ("backpack", "stuffed animal") and first.generate_with == (1, 0)
    assert (first.bench, second.bench) == ("dreambench-multi", "dreambench-single")
    assert second.generate_with == (1,) and case_predicate(first)[0] is None


def test_customconcept_s_pairs_may_exchange_their_slots(tmp_path):
    photos(tmp_path / "benchmark_dataset", "pet_cat1", "toy_bear", suffix=".png")
    (tmp_path / "prompts").mkdir()
    text = "photo of the {0} and {1}. \nA watercolor of {1} and a {0}.\n\nthe {0} playing with the {1}\nonly {0}"
    (tmp_path / "prompts" / "pet_toy.txt").write_text(text, encoding="utf-8")
    concept = [
        {"class_prompt": noun, "instance_data_dir": f"./benchmark_dataset/{name}", "prompt_filename": "x"}
        for noun, name in (("cat", "pet_cat1"), ("bear", "toy_bear"))
    ]
    path = tmp_path / "dataset_multiconcept.json"
    path.write_text(json.dumps([[*concept, {"prompt_filename_compose": "prompts/pet_toy.txt"}]]), encoding="utf-8")
    cases = checked(read_bench("customconcept101", [path]))
    assert [case.phrases for case in cases] == [("cat", "bear"), ("bear", "cat"), ("cat", "bear")]
    assert cases[1].objects == ("toy_bear", "pet_cat1")
    assert [case_predicate(case)[0] for case in cases] == [None, None, "playing with"]


def test_customconcept_s_single_concepts(tmp_path):
    photos(tmp_path / "images", "scene_barn")
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "barn.txt").write_text("{} in fall season\n", encoding="utf-8")
    entry = {"class_prompt": "barn", "instance_data_dir": "./x/scene_barn", "prompt_filename": "prompts/barn.txt"}
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps([entry]), encoding="utf-8")
    (case,) = checked(read_bench("customconcept101", [path, tmp_path / "images"]))
    assert (case.prompt, case.bench) == ("barn in fall season", "customconcept101")


def test_msbench_combines_photos_without_order_and_keeps_the_boxes(tmp_path):
    for kind, names in (("living", ("cat", "dog1", "dog2")), ("scene", ("barn",))):
        (tmp_path / "msbench" / kind).mkdir(parents=True)
        for i, name in enumerate(names):
            photo(i).save(tmp_path / "msbench" / kind / f"{name}.png")
    lists = tmp_path / "msbench.py"
    lists.write_text(
        'data_class_dict = {"cat": "cat", "dog1": "dog", "dog2": "dog", "barn": "barn"}\n'
        'two = ["a {0} and a {1} in a room", "a {0} and a {1} in the snow"]\n'
        'subject_combination_prompts = {"living_living": two, "living_scene": ["a {0} with a {1} in the background"]}\n'
        'subject_combination_boxes = {"living_living": [[0., .25, .5, .75], [.5, .25, 1., .75]],\n'
        '                             "living_scene": [[.25, .25, .75, .75], [0., 0., 1., 1.]]}\n',
        encoding="utf-8",
    )
    cases = checked(read_bench("msbench", [tmp_path / "msbench", lists]))
    assert len(cases) == 3 * 2 + 3  # three pairs of animals × two prompts, three animals × one scene
    assert cases[0].boxes == ((0.0, 0.25, 0.5, 0.75), (0.5, 0.25, 1.0, 0.75))
    assert {case.phrases for case in cases if case.prompt.endswith("room")} == {("cat", "dog"), ("dog", "dog")}


def test_xversebench_brings_its_questions_about_interactions(tmp_path):
    photos(tmp_path, "human", "object")
    entry = {
        "index": 7,
        "prompt": "A man is riding a motorcycle.",
        "modulation": [
            {
                "src_inputs": [
                    {"image_path": "human/00.jpg", "caption": "a man"},
                    {"image_path": "object/01.jpg", "caption": "a motorcycle"},
                ],
                "use_words": [[0, "man", "man"], [1, "motorcycle", "motorcycle"]],
            }
        ],
    }
    asked = {
        "7": {
            "qid2question": {"1": "Is there a man?", "2": "Is there a motorcycle?", "3": "Is the man riding it?"},
            "qid2dependency": {"1": [0], "2": [0], "3": [1, 2]},
        }
    }
    for name, document in (("multi.json", [entry]), ("dsg.json", asked)):
        (tmp_path / name).write_text(json.dumps(document), encoding="utf-8")
    (case,) = checked(read_bench("xversebench", [tmp_path / "multi.json", tmp_path, tmp_path / "dsg.json"]))
    assert case.phrases == ("man", "motorcycle") and case.questions == ("Is the man riding it?",)
    assert case_predicate(case)[0] == "riding"


def test_the_miniature_bench_ships_sound_and_whole():
    bench = open_cases("miniature").check()
    assert {len(case.phrases) for case in bench.cases} == {1, 2}
    assert all(case.boxes and case_predicate(case)[0] for case in bench.cases)
    predicates = Counter(case.predicate for case in bench.cases)
    assert len(predicates) >= 12 and set(predicates.values()) == {10}
    assert len({name for case in bench.cases for name in case.object_names}) >= 8


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dreambench", "no `.*prompts_and_classes.txt`"),
        ("customconcept101", "must hold a list, got a dict: it is another bench's"),
        ("xversebench", "must hold a list, got a dict"),
        ("msbench", "does not hold MS-Bench's lists"),
        ("relationbench", "of RelationBench's 44 objects lie neither"),
    ],
)
def test_a_bench_of_another_kind_is_refused(tmp_path, name, message):
    (tmp_path / "benchmark_dataset").mkdir()
    path = tmp_path / "other.json"
    path.write_text("{}", encoding="utf-8")
    sources = {
        "dreambench": [tmp_path],
        "customconcept101": [path],
        "xversebench": [path, tmp_path],
        "msbench": [tmp_path, path],
        "relationbench": [tmp_path, tmp_path],
    }[name]
    with pytest.raises(ValueError, match=message):
        read_bench(name, sources)


def test_wrong_names_and_numbers_of_sources_are_refused(tmp_path):
    with pytest.raises(ValueError, match="`bench` must be one of relationbench, .*got 'other'"):
        read_bench("other", [])
    with pytest.raises(ValueError, match="xversebench is read from list images .questions., got 0"):
        read_bench("xversebench", [])
    for name in BENCHES:
        with pytest.raises(ValueError, match=f"relationbooth evaluate cases {name}"):
            open_cases(name)
    with pytest.raises(ValueError, match="names an object twice"):
        fill_slots("{0} and {0}", ["cat", "dog"])
    with pytest.raises(ValueError, match="has a slot for object 1, but there are 1"):
        fill_slots("{} and {}", ["cat"])
