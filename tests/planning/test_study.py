"""A study composed from conf/, and what is said of a study that is wrong."""

import shutil
import sys
from pathlib import Path

import pytest

from lookback.errors import UserError
from lookback.planning.study import compose_by_hand, compose_study
from tests.conftest import ROOT

CONF = ROOT / "conf"


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    """A copy of conf/ that a test may spoil."""
    return Path(shutil.copytree(CONF, tmp_path / "conf"))


def with_study(conf: Path, text: str) -> None:
    (conf / "study" / "mine.yaml").write_text(text)


def test_a_variant_is_its_base_with_its_own_overrides(conf):
    with_study(
        conf,
        """
# Does it matter?
tasks: [adding]
models:
  gru:
  gru_wide: {base: gru, overrides: [model.hidden_size=99, recipe=tutorial]}
seeds: [4, 2]
overrides: [model.layers=2]
""",
    )
    study = compose_study(conf, "mine", ["trainer.max_steps=7"])
    plain, wide = study.cells["adding", "gru"], study.cells["adding", "gru_wide"]
    assert (plain.model["hidden_size"], wide.model["hidden_size"]) == (64, 99)
    assert plain.model["layers"] == wide.model["layers"] == 2
    assert (plain.recipe["select"], wide.recipe["select"]) == ("best", "last")
    assert plain.trainer["max_steps"] == wide.trainer["max_steps"] == 7
    assert study.seeds == (4, 2)
    assert study.overrides == ("trainer.max_steps=7",)


def test_the_command_line_has_the_last_word(conf):
    with_study(
        conf,
        """
# What?
tasks: {adding: {overrides: [task.length=20, trainer.max_steps=5]}}
models: [gru]
seeds: 1
""",
    )
    study = compose_study(
        conf, "mine", ["task.length=30", "study.models=[rnn,lstm]", "study.seeds=2"]
    )
    assert {model for _, model in study.cells} == {"rnn", "lstm"}
    cell = study.cells["adding", "rnn"]
    assert (cell.task["length"], cell.trainer["max_steps"], study.seeds) == (30, 5, (0, 1))


def test_hydra_grammar_passes_through(conf):
    study = compose_by_hand(
        conf,
        "adding",
        "gru",
        0,
        ["+recipe.optimizer.betas=[0.5,0.9]", "~recipe.optimizer.weight_decay", "recipe.clip=null"],
    )
    recipe = study.cells["adding", "gru"].recipe
    assert recipe["optimizer"]["betas"] == [0.5, 0.9]
    assert "weight_decay" not in recipe["optimizer"]
    assert recipe["clip"] is None


def test_two_plusses_add_a_key_or_change_it(conf):
    """As in Hydra's grammar; missing mappings on the way are made."""
    study = compose_by_hand(
        conf,
        "adding",
        "gru",
        0,
        [
            *("++recipe.optimizer.betas=[0.5,0.9]", "++recipe.optimizer.lr=0.5"),
            *("++trainer.budget.steps=30", "++recipe.clip=null"),
        ],
    )
    cell = study.cells["adding", "gru"]
    assert cell.recipe["optimizer"]["betas"] == [0.5, 0.9]
    assert (cell.recipe["optimizer"]["lr"], cell.recipe["clip"]) == (0.5, None)
    assert cell.trainer["budget"] == {"steps": 30}
    mine = compose_study(conf, "quick", ["++study.match.params=900"])
    assert mine.match == {"params": 900, "tolerance": 0.05}


def test_a_probe_is_changed_by_its_name(conf):
    study = compose_study(conf, "quick", ["probe.gradient_flow.sequences=17"])
    assert study.probes["gradient_flow"]["sequences"] == 17


def test_what_is_tuned_is_named_whole_and_a_range_of_whole_numbers_is_a_list(conf):
    with_study(
        conf,
        GRU + "match: {params: 900}\n"
        "tune: {lr: {low: 1e-4, high: 1e-1, log: true}, model.layers: {low: 1, high: 3}, "
        "trials: 5}",
    )
    study = compose_study(conf, "mine")
    assert study.match == {"params": 900, "tolerance": 0.05}
    assert study.tune == {
        "values": {
            "recipe.optimizer.lr": {"low": 1e-4, "high": 0.1, "log": True},
            "model.layers": [1, 2, 3],
        },
        "trials": 5,
        "budget": None,
        "seeds": 1,
        "pruner": None,
    }


def test_trials_may_have_several_seeds_and_a_pruner(conf):
    pruner = "{_target_: optuna.pruners.PercentilePruner, percentile: 25.0, n_warmup_steps: 1}"
    with_study(conf, GRU + f"tune: {{lr: [0.1, 0.01], seeds: 3, pruner: {pruner}}}")
    tune = compose_study(conf, "mine").tune
    assert tune["seeds"] == 3
    assert tune["pruner"]["_target_"] == "optuna.pruners.PercentilePruner"
    assert tune["values"] == {"recipe.optimizer.lr": [0.1, 0.01]}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("seeds: 0", "'seeds' cannot be 0; it should be at least 1"),
        ("seed: 3", "seeds"),
        ("seeds: 3, prunner: {}", "Did you mean 'pruner'"),
        ("seeds: 3, pruner: {_target_: optuna.pruners.MedianPrunner}", "MedianPruner'"),
        ("seeds: 3, pruner: {_target_: optuna.samplers.TPESampler}", "'pruner._target_' cannot be"),
        (
            "seeds: 3, pruner: {_target_: optuna.pruners.MedianPruner, n_startup_trails: 1}",
            "Did you mean 'n_startup_trials'",
        ),
        ("pruner: {_target_: optuna.pruners.MedianPruner}", "Add 'seeds: 3' under 'tune'"),
    ],
)
def test_seeds_and_pruners_that_cannot_be_meant_are_answered(conf, more, said):
    with_study(conf, GRU + f"tune: {{lr: [0.1, 0.01], {more}}}")
    assert said in answer_to(conf)


def test_every_seed_of_tuning_is_reserved(conf):
    tune = "tune: {lr: [0.1, 0.01], seeds: 3}"
    with_study(conf, GRU.replace("seeds: 1", "seeds: [10002]") + tune)
    assert "seed 10002 is reserved for tuning" in answer_to(conf)
    with_study(conf, GRU.replace("seeds: 1", "seeds: [10003]") + tune)
    assert compose_study(conf, "mine").seeds == (10003,)


def test_match_needs_a_hidden_size_to_find(conf):
    (conf / "model/mean.yaml").write_text("_target_: lookback.models.transformer.Transformer\n")
    with_study(conf, "tasks: [adding]\nmodels: [mean]\nseeds: 1\nmatch: {params: 900}")
    assert "hidden_size" in answer_to(conf)


def test_published_figures_name_their_source_and_stand_in_files_of_their_own(conf):
    with_study(
        conf, GRU + "published: [bai2018, {task: a, model: b, metric: mse, value: 1, source: c}]"
    )
    *first, last = compose_study(conf, "mine").published
    lstm = next(it for it in first if (it["task"], it["model"]) == ("psmnist", "lstm"))
    assert lstm["value"] == 0.857
    assert "Bai, Kolter and Koltun 2018" in lstm["source"]
    assert "Table 1" in lstm["source"]
    assert last["source"] == "c"


def test_the_question_is_the_comment_that_the_study_begins_with():
    assert compose_study(CONF, "mnist").question.startswith("how well does the tutorial's LSTM")


def test_composing_imports_neither_torch_nor_numpy():
    import subprocess

    code = (
        "import sys; from pathlib import Path; from lookback.planning.study import compose_study;"
        "import lookback.commands.session;"
        f"compose_study(Path({str(CONF)!r}), 'quick');"
        "assert not {'torch', 'numpy', 'pandas', 'mlflow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(ROOT / "src")})


GRU = "tasks: [adding]\nmodels: [gru]\nseeds: 1\n"
STUDY = """
tasks: [adding, digits_rows]
models: [rnn, lstm, gru, attention, transformer]
seeds: 3
recipe: default
trainer: default
probes: [gradient_flow]
explainers: [integrated_gradients, occlusion, attention]
overrides: [trainer.max_epochs=3, model.hidden_size=16]
match: {params: 70000, tolerance: 0.05}
tune: {lr: [0.001, 1e-2], recipe.clip: [0.5, null], trials: 3, budget: {steps: 50}}
published: [bai2018]
"""
# Where it is planted, what stood there, the mistake, and what should be suggested.
MISTAKES = [
    ("study", "tasks:", "task:", "tasks"),
    ("study", "tasks:", "taskss:", "tasks"),
    ("study", "models:", "model:", "models"),
    ("study", "models:", "modles:", "models"),
    ("study", "seeds:", "seed:", "seeds"),
    ("study", "seeds:", "sedes:", "seeds"),
    ("study", "recipe: default", "recipy: default", "recipe"),
    ("study", "trainer: default", "training: default", "trainer"),
    ("study", "probes:", "probe:", "probes"),
    ("study", "explainers:", "explainer:", "explainers"),
    ("study", "explainers:", "explanations:", "explainers"),
    ("study", "overrides:", "override:", "overrides"),
    ("study", "[adding,", "[ading,", "adding"),
    ("study", "[adding,", "[add,", "adding"),
    ("study", "digits_rows]", "digit_rows]", "digits_rows"),
    ("study", "digits_rows]", "rows]", "digits_rows"),
    ("study", "lstm,", "lsmt,", "lstm"),
    ("study", "lstm,", "LSTM,", "lstm"),
    ("study", "gru,", "gur,", "gru"),
    ("study", "rnn,", "rn,", "rnn"),
    ("study", "rnn,", "rrn,", "rnn"),
    ("study", "attention, transformer", "atention, transformer", "attention"),
    ("study", "transformer]", "transfomer]", "transformer"),
    ("study", "transformer]", "transformers]", "transformer"),
    ("study", "recipe: default", "recipe: defualt", "default"),
    ("study", "recipe: default", "recipe: tutorail", "tutorial"),
    ("study", "trainer: default", "trainer: defaults", "default"),
    ("study", "gradient_flow", "gradients_flow", "gradient_flow"),
    ("study", "gradient_flow", "gradient", "gradient_flow"),
    ("study", "integrated_gradients", "integrated_gradient", "integrated_gradients"),
    ("study", "integrated_gradients", "integratedgradients", "integrated_gradients"),
    ("study", "occlusion", "oclusion", "occlusion"),
    ("study", "seeds: 3", "seeds: three", "integer"),
    ("study", "seeds: 3", "seeds: 0", "at least 1"),
    ("study", "trainer.max_epochs", "trainer.max_epoch", "trainer.max_epochs"),
    ("study", "trainer.max_epochs", "trainer.epochs", "trainer.max_epochs"),
    ("study", "trainer.max_epochs", "traner.max_epochs", "trainer"),
    ("study", "model.hidden_size", "model.hiden_size", "model.hidden_size"),
    ("study", "model.hidden_size", "model.hidden", "model.hidden_size"),
    ("study", "model.hidden_size", "models.hidden_size", "model"),
    ("study", "model.hidden_size=16", "model.hidden_size=-16", "at least 1"),
    ("study", "match:", "matches:", "match"),
    ("study", "{params:", "{param:", "params"),
    ("study", "tolerance:", "tolerence:", "tolerance"),
    ("study", "params: 70000", "params: many", "integer"),
    ("study", "params: 70000", "params: 0", "at least 1"),
    ("study", "tune:", "tuning:", "tune"),
    ("study", "{lr:", "{rl:", "lr"),
    ("study", "{lr:", "{recipe.lr:", "recipe.optimizer.lr"),
    ("study", "recipe.clip:", "recipe.clp:", "recipe.clip"),
    ("study", "recipe.clip:", "clip:", "recipe.clip"),
    ("study", "recipe.clip: [0.5, null]", "recipe.select: [bets, last]", "best"),
    ("study", "recipe.clip: [0.5, null]", "model.layer: [1, 2]", "model.layers"),
    ("study", "trials:", "trial:", "trials"),
    ("study", "trials: 3", "trials: 0", "at least 1"),
    ("study", "budget:", "bugdet:", "budget"),
    ("study", "steps: 50", "step: 50", "steps"),
    ("study", "bai2018", "bai2081", "bai2018"),
    ("trainer/default", "budget: null", "budgets: null", "budget"),
    ("trainer/default", "budget: null", "budget: {flop: 1e9}", "flops"),
    ("trainer/default", "max_epochs:", "max_epoch:", "max_epochs"),
    ("trainer/default", "batch_size:", "batchsize:", "batch_size"),
    ("trainer/default", "batch_size: 64", "batch_size: many", "integer"),
    ("trainer/default", "devices: auto", "devices: atuo", "auto"),
    ("trainer/default", "devices: auto", "device: auto", "devices"),
    ("trainer/default", "log_every:", "log_evry:", "log_every"),
    ("trainer/default", "precision: 32-true", "precision: 32-ture", "32-true"),
    ("recipe/default", "initialisation:", "initialization:", "initialisation"),
    ("recipe/default", "recurrent: orthogonal", "recurrent: ortogonal", "orthogonal"),
    ("recipe/default", "forget_bias:", "forget_bais:", "forget_bias"),
    ("recipe/default", "torch.optim.AdamW", "torch.optim.AdmaW", "AdamW"),
    ("recipe/default", "lr:", "rl:", "lr"),
    ("recipe/default", "weight_decay:", "weightdecay:", "weight_decay"),
    ("recipe/default", "shape: cosine", "shape: cosin", "cosine"),
    ("recipe/default", "select: best", "select: bets", "best"),
    ("recipe/default", "warmup:", "warm_up:", "warmup"),
    ("model/gru", "hidden_size:", "hiden_size:", "hidden_size"),
    ("model/gru", "lookback.models.gru.GRU", "lookback.models.gru.GRUU", "GRU"),
    ("model/gru", "lookback.models.gru.GRU", "lookback.models.grü.GRU", "gru"),
    ("model/gru", "layers:", "layer:", "layers"),
    ("model/rnn", "\nnonlinearity:", "\nnonlinearty:", "nonlinearity"),
    ("task/adding", "length:", "lenght:", "length"),
    ("task/adding", "validation:", "valid:", "validation"),
    ("probe/gradient_flow", "sequences:", "sequence:", "sequences"),
    ("explainer/occlusion", "lookback.explain.occlusion", "lookback.explain.oclusion", "occlusion"),
]


def plant(conf: Path, place: str, right: str, wrong: str) -> None:
    with_study(conf, STUDY)
    path = conf / ("study/mine.yaml" if place == "study" else f"{place}.yaml")
    text = path.read_text()
    assert right in text, f"{right!r} does not stand in {path.name}: nothing was planted"
    path.write_text(text.replace(right, wrong, 1))


def answer_to(conf: Path) -> str:
    with pytest.raises(UserError) as caught:
        compose_study(conf, "mine")
    return str(caught.value)


def test_a_mistake_of_one_letter_or_word_is_answered_with_the_right_one(tmp_path):
    """Each planted alone, in keys and in values; every answer is short and none is a traceback."""
    assert len(MISTAKES) >= 60
    missed = []
    for number, (place, right, wrong, wanted) in enumerate(MISTAKES):
        conf = Path(shutil.copytree(CONF, tmp_path / str(number)))
        plant(conf, place, right, wrong)
        answer = answer_to(conf)
        assert len(answer.splitlines()) <= 5, answer
        suggested = f"Did you mean '{wanted}'?" in answer
        if not (suggested or (wanted in answer and wanted in ("integer", "at least 1"))):
            missed.append((wrong, wanted, answer))
    print(f"{len(MISTAKES) - len(missed)} of {len(MISTAKES)} answered right", *missed, sep="\n")
    assert len(missed) <= 3 * len(MISTAKES) // 60


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tasks: [adding", "is not YAML"),
        ("", "is empty"),
        ("tasks: []\nmodels: [gru]\nseeds: 1", "'tasks'"),
        ("tasks: [adding]\nmodels: [gru, gru]\nseeds: 1", "without repeated entries"),
        ("tasks: [adding]\nseeds: 1", "'models' is missing"),
        (
            "tasks: [adding]\nmodels: {gru: {overrides: [task.length=9]}}\nseeds: 1",
            "the same for all models",
        ),
        (
            "tasks: [adding]\nmodels: [gru]\nseeds: 1\noverrides: ['trainer.max_epochs=1,2']",
            "sweep",
        ),
        ("tasks: [adding]\nmodels: [gru]\nseeds: 1\noverrides: [model=lstm]", "under 'models'"),
        ("tasks: [adding]\nmodels: [gru]\nseeds: 1\noverrides: ['a b=3']", "is not an override"),
        (
            "tasks: [adding]\nmodels: [gru]\nseeds: 1\noverrides: ['model.hidden_size=${nope}']",
            "nope",
        ),
        ("tasks: [adding]\nmodels: [gru]\nseeds: 1\noverrides: [model.hidden_size=big]", "integer"),
        (
            "tasks: [adding]\nmodels: [gru]\nseeds: 1\noverrides: [recipe.optimizer.lr=-1]",
            "above 0",
        ),
        ("tasks: [adding]\nmodels: [gru]\nseeds: 1\noverrides: [model.dropout=1.5]", "below 1"),
        (GRU + "tune: {lr: [0.01, -1]}", "cannot try recipe.optimizer.lr=-1"),
        (GRU + "tune: {lr: 0.01}", "should be of type array or object"),
        (GRU + "tune: {lr: [0.01, 0.01]}", "without repeated entries"),
        (GRU + "tune: {trials: 3}", "names nothing to try"),
        (GRU + "tune: {lr: [1], recipe.optimizer.lr: [2]}", "have the same meaning"),
        (GRU + "tune: {lr: {low: 1e-4, high: 1e-1}}", "the number of draws"),
        (GRU + "tune: {lr: {low: 1, high: 1e-1}, trials: 3}", "'low' must be below"),
        (GRU + "tune: {lr: {low: 0, high: 0.1, log: true}, trials: 3}", "both above 0"),
        (GRU + "tune: {lr: {low: 0.1, hgih: 1}, trials: 3}", "'high'"),
        (GRU + "tune: {model.layers: {low: 3, high: 1}, trials: 3}", "Swap"),
        (GRU + "tune: {model.layers: {low: 1, high: 10001}}", "has more than 10000 integers"),
        (GRU + "tune: {lr: {low: 1e-3, high: .inf}, trials: 3}", "should be a finite number"),
        (GRU + "tune: {model.layers: [1.0]}", "cannot try model.layers=1.0"),
        (GRU + "overrides: 5", "'overrides' cannot be 5; it should be of type array"),
        (GRU + "overrides: [5]", "'overrides.0' cannot be 5"),
        (GRU.replace("1", "2.0"), "'seeds' cannot be 2.0; it should be of type integer or array"),
        (GRU.replace("1", "[1.0]"), "'seeds.0' cannot be 1.0"),
        (GRU.replace("1", "10001"), "'seeds' cannot be 10001; it should be at most 10000"),
        (GRU + "match: {params: .nan}", "'match.params' cannot be nan"),
        (GRU.replace("gru", "no"), "'models.0' cannot be false; it should be of type string"),
        (GRU + "published: [../published/bai2018]", "is not in conf/published/"),
        (GRU + "tune: {trainer.max_steps: [10, 20]}", "all trials have the same length"),
        (GRU + "tune: {task.length: [10, 20]}", "adding/gru does not have"),
        (GRU + "tune: {lr: [1], budget: {steps: 1, epochs: 1}}", "at most 1"),
        (GRU + "match: {params: 99}\ntune: {model.hidden_size: [9]}", "'match' sets"),
        (GRU + "match: {tolerance: 0.1}", "'params' is missing"),
        (GRU + "match: {params: 99, tolerance: 5}", "below 1"),
        (GRU.replace("1", "[10000]") + "tune: {lr: [1]}", "is reserved for tuning"),
        (
            GRU + "tune: {lr: [1]}\noverrides: ['trainer.budget={seconds: 9}']",
            "cannot repeat",
        ),
        (
            GRU + "overrides: ['trainer.budget={flops: 1e9}', trainer.max_steps=9]",
            "A run has one length",
        ),
        (GRU + "overrides: ['trainer.budget={flops: 1e9, steps: 9}']", "at most 1"),
        (
            "tasks: [adding]\nmodels: [gru, transformer]\nseeds: 1\ntune: {model.heads: [2, 4]}",
            "adding/gru does not have",
        ),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(conf, text, said):
    with_study(conf, text)
    answer = answer_to(conf)
    assert said in answer
    assert len(answer.splitlines()) <= 5


URI_WITH_SECRET = "tracking.uri='postgresql://ada:s3cret@host/db'"
PLACES = {
    "the command line": (GRU, [URI_WITH_SECRET]),
    "the command line's study": (GRU, [f'study.overrides=["{URI_WITH_SECRET}"]']),
    "a new key": (GRU, [f"+{URI_WITH_SECRET}"]),
    "a whole group": (GRU, ["tracking={uri: 'postgresql://ada:s3cret@host/db'}"]),
    "a misspelt key": (GRU, ["tracking.url=http://s3cret@host"]),
    "no override of Hydra": (GRU, ["tracking.uri=http://host/?token=s3cret&a=(b"]),
    "the study": (f'{GRU}overrides: ["{URI_WITH_SECRET}"]', []),
    "a task": (
        f'tasks: {{adding: {{overrides: ["{URI_WITH_SECRET}"]}}}}\nmodels: [gru]\nseeds: 1',
        [],
    ),
    "a model": (
        f'tasks: [adding]\nmodels: {{gru: {{overrides: ["{URI_WITH_SECRET}"]}}}}\nseeds: 1',
        [],
    ),
}


@pytest.mark.parametrize(("text", "overrides"), PLACES.values(), ids=PLACES)
def test_a_secret_in_an_override_is_refused_without_being_told(conf, text, overrides):
    with_study(conf, text)
    with pytest.raises(UserError, match="MLFLOW_TRACKING_URI") as caught:
        compose_study(conf, "mine", overrides)
    assert "s3cret" not in str(caught.value)


def test_a_secret_may_come_from_the_environment_and_a_uri_without_one_may_be_an_override(
    conf, monkeypatch
):
    monkeypatch.setenv("PASSWORD_OF_MLFLOW", "s3cret")
    uri = "http://ada:${oc.env:PASSWORD_OF_MLFLOW}@host"
    (conf / "tracking/team.yaml").write_text(f"uri: {uri}\n")
    with_study(conf, GRU + "tracking: team")
    assert compose_study(conf, "mine").tracking["uri"] == "http://ada:s3cret@host"
    with_study(conf, GRU)
    for override, expected in ((uri, "http://ada:s3cret@host"), ("http://host", "http://host")):
        study = compose_study(conf, "mine", [f"tracking.uri='{override}'"])
        assert study.tracking["uri"] == expected
        assert "s3cret" not in study.overrides[0]


def test_a_study_that_is_not_there_is_answered_with_the_nearest():
    with pytest.raises(UserError, match="Did you mean 'mnist'"):
        compose_study(CONF, "mnits")


@pytest.mark.parametrize(
    ("model", "override", "said"),
    [
        ("transformer", "model.positions=rotery", "rotary"),
        ("attention", "model.attention=scaled", "scaled_dot"),
        ("attention", "model.encoder._target_=lookback.models.mingru.MinGPU", "MinGRU"),
        ("lru", "model.mode=8", "model.modes"),
    ],
)
def test_a_way_that_a_model_does_not_have_is_answered_with_the_nearest(model, override, said):
    with pytest.raises(UserError, match=rf"Did you mean '{said}'"):
        compose_by_hand(CONF, "adding", model, 0, [override])


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("recipe.early_stopping.patience=3", "Write 'recipe.early_stopping={patience: 3}'"),
        ("recipe.clip.norm=1", "recipe.clip is 1.0, which has no keys"),
    ],
)
def test_a_key_of_a_setting_without_keys_is_answered_with_the_whole_setting(override, said):
    with pytest.raises(UserError) as mistake:
        compose_by_hand(CONF, "adding", "lstm", 0, [override])
    assert said in str(mistake.value)


def test_the_setting_that_the_answer_writes_is_taken():
    override = "recipe.early_stopping={patience: 3}"
    cell = compose_by_hand(CONF, "adding", "lstm", 0, [override]).cells["adding", "lstm"]
    assert cell.recipe["early_stopping"] == {"patience": 3}


def test_a_key_that_the_constructor_accepts_and_the_yaml_leaves_out_needs_a_plus(conf):
    path = conf / "model" / "attention.yaml"
    path.write_text(path.read_text().replace("  bidirectional: false\n", ""))
    override = "model.encoder.bidirectional=true"
    with pytest.raises(UserError) as mistake:
        compose_by_hand(conf, "adding", "attention", 0, [override])
    assert f"write '+{override}'" in str(mistake.value)
    cell = compose_by_hand(conf, "adding", "attention", 0, [f"+{override}"])
    assert cell.cells["adding", "attention"].model["encoder"]["bidirectional"] is True
    with pytest.raises(UserError) as mistake:
        compose_by_hand(conf, "adding", "attention", 0, ["model.encoder.bidirektional=true"])
    assert "_partial_" not in str(mistake.value)
