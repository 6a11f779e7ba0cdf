"""Configs and overrides that must be refused, each with words its error must hold.

Written for `ExperimentConfig`. A good config is two lines; each case changes or adds a line, so an
added section stands on line 3.
"""

GOOD = {"data": "{kind: digits}", "model": "{kind: mlp, hidden: [8]}"}


def changed(*lines: str) -> str:
    """Return the good config with its sections replaced by, or followed by, `lines`."""
    sections = {key: f"{key}: {value}" for key, value in GOOD.items()}
    for line in lines:
        sections[line.partition(":")[0]] = line
    return "\n".join(sections.values()) + "\n"


VALID = changed()


def _model(entry: str) -> str:
    return changed(f"model: {{kind: mlp, {entry}}}")


def _cnn(entry: str) -> str:
    return changed(f"model: {{kind: cnn, {entry}}}")


def _sequential(layers: str) -> str:
    return changed(f"model: {{kind: sequential, layers: {layers}}}")


def _nested(levels: int) -> str:
    return "".join(f"{' ' * level}a:\n" for level in range(levels))


def _alias_bomb() -> str:
    first = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    return first + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 40)
    )


NOT_YAML = "text that is not YAML"
NO_TAGS = "values without tags"
BY_HAND = "each value written out"
ONCE = "each key once"

BROKEN: dict[str, tuple[str | bytes, str]] = {
    # numbers that float32 does not have
    "a large bound": (changed("train: {clip_grad_value: 1e39}"), "train.clip_grad_value"),
    "a large penalty": (changed("train: {l1: 1e39}"), "beyond 1e+30"),
    "a large learning rate": (changed("optimizer: {kind: muon, lr: 1e308}"), "optimizer.lr"),
    "a large rate of nadam": (changed("optimizer: {kind: nadam, lr: 1e308}"), "beyond 1e+30"),
    # the file as a whole
    "empty file": ("", "a mapping of keys to values"),
    "only spaces and line breaks": (" \n\n  \n", "a mapping of keys to values"),
    "only comments": ("# nothing\n# here\n", "a mapping of keys to values"),
    "only null": ("null\n", "a mapping of keys to values"),
    "list at the top": ("- kind: digits\n", "a mapping of keys to values"),
    "scalar at the top": ("digits\n", "given:   digits"),
    "number at the top": ("3\n", "given:   3"),
    "empty mapping": ("{}\n", ":1: data"),
    "two documents": (VALID + "---\n" + VALID, ":3\n  given:   a second document"),
    "300 KiB of comments": ("# filling\n" * 30_720 + VALID, "256 KiB"),
    "300 KiB on one line": (f"name: {'x' * 307_200}\n", "256 KiB"),
    "random bytes": (bytes(range(128, 256)) * 8, "not UTF-8"),
    "a PNG's first bytes": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "not UTF-8"),
    "Latin-1": (changed("name: caf\xe9").encode("latin-1"), ":3: not UTF-8"),
    "UTF-16": (VALID.encode("utf-16"), "not UTF-8"),
    "UTF-16 without a mark": (VALID.encode("utf-16-le"), r"'\x00'"),
    "NUL byte": (VALID.encode() + b"name: a\0b\n", r":3"),
    "NUL byte written as an escape": (changed('name: "a\\0b"'), ":3: name"),
    "escape character": (changed("name: \x1b[31mred"), NOT_YAML),
    "lone surrogate": (changed('name: "\\ud800"'), ":3: name"),
    "escape beyond Unicode": (changed('name: "\\UFFFFFFFF"'), NOT_YAML),
    # syntax
    "tab as indentation": ("data:\n\tkind: digits\n", ":2\n"),
    "unclosed double quote": (changed('name: "run'), ":3\n"),
    "unclosed single quote": (changed("name: 'run"), ":3\n"),
    "unclosed bracket": ("model: {kind: mlp, hidden: [1, 2\ndata: {kind: digits}\n", ":2\n"),
    "unclosed brace": ("data: {kind: digits\nmodel: {kind: mlp}\n", NOT_YAML),
    "stray closing bracket": (changed("train: ]"), ":3"),
    "two colons in a line": (changed("name: a: b"), ":3"),
    "colon without a space": (changed("train:{epochs: 3}"), ":3"),
    "uneven indentation": ("data:\n  kind: digits\n   batch_size: 3\n", ":3"),
    "percent sign": (changed("name: %run"), ":3"),
    "unknown escape": (changed('name: "\\q"'), ":3"),
    "a giant YAML version": (f"%YAML 1.{'9' * 5000}\n---\n{VALID}", NOT_YAML),
    # bombs
    "100,000 brackets": ("[" * 100_000, "32 levels"),
    "100,000 braces": ("{" * 100_000, "32 levels"),
    "100,000 block sequences": ("- " * 100_000, "32 levels"),
    "100,000 complex keys": ("? " * 100_000, "32 levels"),
    "500 indented sections": (_nested(500), "32 levels"),
    "33 levels in a value": (_model(f"hidden: {'[' * 33}{']' * 33}"), "32 levels"),
    "alias bomb": (_alias_bomb(), "the alias *a0"),
    "5,000-digit integer": (changed(f"seed: {'9' * 5000}"), "a number of 5000 characters"),
    "5,000-digit float": (changed(f"seed: 0.{'9' * 5000}"), "a number of 5002 characters"),
    "10,000 unknown keys": ("".join(f"k{n}: 1\n" for n in range(10_000)), "more errors"),
    "8 KiB key": (f"{'k' * 8192}: 1\n{VALID}", NOT_YAML),
    # what could run code or expand
    "python tag": (changed('name: !!python/object/apply:os.system ["id"]'), ":3: name"),
    "python name tag": (changed("name: !!python/name:os.system"), NO_TAGS),
    "tag on a section": (changed("train: !!python/object:dict {epochs: 1}"), ":3: train"),
    "int tag": (changed("seed: !!int 3"), "the tag !!int"),
    "own tag": (changed("name: !foo run"), "the tag !foo"),
    "tag within a list": (_model("hidden: [!!int 8]"), ":2: model.hidden.0"),
    "binary tag": (changed("name: !!binary aWQ="), "the tag !!binary"),
    "tag on the whole file": ("!!map\n" + VALID, "the tag !!map"),
    "tag on a key": (changed("!!str seed: 1"), ":3: seed"),
    "tag of no declared handle": (changed("name: !x!y run"), NOT_YAML),
    "anchor": (changed("name: &run run"), "the anchor &run"),
    "anchor on a section": (changed("train: &train {epochs: 1}"), ":3: train"),
    "alias": (changed("name: &run run", "seed: *run"), ":4: seed"),
    "alias of nothing": (changed("seed: *run"), BY_HAND),
    "alias as a key": (changed("seed: &s 1") + "*s : 1\n", "the alias *s"),
    "merge key": (changed("train: {<<: {epochs: 3}}"), ':3: train."<<"'),
    "merge key of an alias": (
        changed("train: &t {epochs: 3}", "monitor: {<<: *t}"),
        "the alias *t",
    ),
    "list as a key": (changed("train: {? [a] : 1}"), ':3: train."?"'),
    "mapping as a key": (changed("? {a: 1}\n: 1"), "a key that is no plain text"),
    # keys
    "duplicate key at the top": (VALID + "data: {kind: mnist}\n", ":3: data"),
    "duplicate key in a section": (changed("train: {epochs: 1, epochs: 1}"), ":3: train.epochs"),
    "duplicate key in quotes": (changed('train: {epochs: 1, "epochs": 1}'), ONCE),
    "duplicate kind": (changed("loss: {kind: mse, kind: mse}"), ":3: loss.kind"),
    "duplicate key three levels down": (_model("hidden: [{a: {b: 1, b: 1}}]"), "hidden.0.a.b"),
    "unknown key at the top": (changed("sed: 3"), "did you mean: seed"),
    "unknown section": (changed("optimiser: {lr: 0.1}"), "did you mean: optimizer"),
    "unknown key in a section": (changed("train: {epoch: 3}"), "did you mean: epochs"),
    "unknown key in a kind": (_model("hiden: [3]"), "did you mean: hidden"),
    "key of another section": (changed("train: {lr: 0.1}"), "did you mean: optimizer.lr"),
    "key of another kind": (changed("optimizer: {betas: [0.9, 0.99]}"), ":3: optimizer.betas"),
    "key in capitals": (changed("Name: run"), "did you mean: name"),
    "empty key": (changed('"": 3'), "an unknown key"),
    "number as a key": (changed("7: 3"), "an unknown key"),
    "null as a key": (changed("null: 3"), "an unknown key"),
    "key for a kind without keys": (changed("loss: {kind: mse, label_smoothing: 0}"), ":3: loss."),
    "key with a line break": (changed('"a\\nb": 3'), "an unknown key"),
    # kinds and sections
    "no data": ("model: {kind: mlp}\n", ":1: data\n  given:   nothing"),
    "no model": ("data: {kind: digits}\n", ":1: model\n  given:   nothing"),
    "kind of data missing": (changed("data: {batch_size: 8}"), ":1: data.kind\n  given:   nothing"),
    "unknown data": (changed("data: {kind: mnits}"), "did you mean: mnist"),
    "unknown model": (changed("model: {kind: mpl}"), "did you mean: mlp"),
    "unknown loss": (changed("loss: {kind: crossentropy}"), "did you mean: cross_entropy"),
    "unknown optimizer": (changed("optimizer: {kind: adamm}"), "did you mean: adam"),
    "unknown schedule": (changed("schedule: {kind: linear}"), ":3: schedule.kind"),
    "kind in capitals": (changed("optimizer: {kind: SGD}"), "did you mean: sgd"),
    "kind is null": (changed("optimizer: {kind: null}"), ":3: optimizer.kind\n  given:   null"),
    "kind is a number": (changed("optimizer: {kind: 3}"), ":3: optimizer.kind"),
    "kind is a list": (changed("optimizer: {kind: [sgd]}"), ":3: optimizer.kind"),
    "kind is a mapping": (changed("optimizer: {kind: {sgd: 1}}"), ":3: optimizer.kind"),
    "section is null": (changed("train:"), ":3: train\n  given:   null"),
    "section of kinds is null": (changed("optimizer: null"), ":3: optimizer\n  given:   null"),
    "section is a list": (changed("optimizer: [sgd]"), ":3: optimizer"),
    "section is text": (changed("optimizer: sgd"), ":3: optimizer\n  given:   sgd"),
    "section is a number": (changed("monitor: 50"), ":3: monitor"),
    "required section is null": (changed("data:"), ":1: data\n  given:   null"),
    # name, seed, device
    "name above the runs": (changed("name: ../../x"), ":3: name"),
    "name is an absolute path": (changed("name: /etc/passwd"), ":3: name"),
    "name is a folder above": (changed("name: .."), ":3: name"),
    "name is empty": (changed("name: ''"), ":3: name"),
    "name is null": (changed("name:"), ":3: name"),
    "name is too long": (changed(f"name: {'x' * 101}"), ":3: name"),
    "name with a line break": (changed('name: "run\\n"'), ":3: name"),
    "name with a space": (changed("name: my run"), ":3: name"),
    "name with an option's dash": (changed("name: -rf"), ":3: name"),
    "name is a number": (changed("name: 2024"), ":3: name\n  given:   2024"),
    "name is a list": (changed("name: [run]"), ":3: name"),
    "name is not ASCII": (changed("name: r\u00fcn"), ":3: name"),
    "seed is negative": (changed("seed: -1"), ":3: seed"),
    "seed is a fraction": (changed("seed: 0.5"), ":3: seed"),
    "seed is a whole float": (changed("seed: 1e3"), "did you mean: 1000"),
    "seed is text": (changed("seed: '1'"), "did you mean: 1"),
    "seed is a bool": (changed("seed: true"), ":3: seed"),
    "seed is null": (changed("seed: ~"), ":3: seed"),
    "seed of 64 bits": (changed(f"seed: {2**63}"), ":3: seed"),
    "seed of 400 digits": (changed(f"seed: {'9' * 400}"), ":3: seed"),
    "seed with underscores": (changed("seed: 1_000"), "did you mean: 1000"),
    "unknown device": (changed("device: gpu"), ":3: device"),
    "device without a number": (changed("device: 'cuda:'"), ":3: device"),
    "device is a number": (changed("device: 0"), ":3: device"),
    # data
    "batch_size 0": (changed("data: {kind: digits, batch_size: 0}"), ":1: data.batch_size"),
    "batch_size too large": (changed("data: {kind: digits, batch_size: 1048577}"), "to 1048576"),
    "batch_size is a fraction": (changed("data: {kind: digits, batch_size: 1.5}"), ":1: data."),
    "batch_size is a bool": (changed("data: {kind: digits, batch_size: yes}"), "data.batch_size"),
    "validation_fraction 1": (changed("data: {kind: digits, validation_fraction: 1}"), "0 to 0.5"),
    "validation_fraction below 0": (
        changed("data: {kind: digits, validation_fraction: -0.1}"),
        ":1: data.validation_fraction\n  given:   -0.1",
    ),
    "root for digits": (changed("data: {kind: digits, root: data}"), ":1: data.root"),
    "root is a number": (changed("data: {kind: mnist, root: 3}"), ":1: data.root"),
    # model
    "hidden is a number": (_model("hidden: 8"), ":2: model.hidden\n  given:   8"),
    "hidden is null": (_model("hidden: null"), ":2: model.hidden"),
    "hidden is text": (_model("hidden: '8, 8'"), ":2: model.hidden"),
    "hidden is a mapping": (_model("hidden: {a: 8}"), ":2: model.hidden"),
    "hidden holds text": (_model("hidden: [8, '8']"), ":2: model.hidden.1"),
    "hidden holds null": (_model("hidden: [8, ~]"), ":2: model.hidden.1\n  given:   null"),
    "hidden holds a bool": (_model("hidden: [true]"), ":2: model.hidden.0\n  given:   true"),
    "hidden holds a float": (_model("hidden: [8.0]"), ":2: model.hidden.0"),
    "hidden holds a list": (_model("hidden: [[8]]"), ":2: model.hidden.0"),
    "hidden holds 0": (_model("hidden: [8, 0]"), ":2: model.hidden.1"),
    "hidden holds a negative number": (_model("hidden: [-5]"), "an integer from 1 to 1048576"),
    "a layer of 10^12 units": (_model("hidden: [1000000000000]"), ":2: model.hidden.0"),
    "101 layers": (_model(f"hidden: {[8] * 101}"), "at most 100 values"),
    "unknown activation": (_model("activation: ReLU"), "did you mean: relu"),
    "activation is null": (_model("activation: null"), ":2: model.activation"),
    "unknown init": (_model("init: xavir"), "did you mean: xavier"),
    "unknown normalization": (_model("normalization: bach"), "did you mean: batch"),
    "dropout 1": (_model("dropout: 1"), ":2: model.dropout"),
    "unknown preset": (_cnn("preset: resnet20"), "did you mean: resnet"),
    "stages and a preset": (_cnn("preset: lenet, stages: [{channels: 8}]"), ":2: model\n"),
    "no stages": (_cnn("stages: []"), ":2: model.stages"),
    "a stage without channels": (_cnn("stages: [{blocks: 2}]"), ":2: model.stages.0.channels"),
    "a stage's unknown key": (_cnn("stages: [{channel: 8}]"), "did you mean: channels"),
    "a stage of 0 channels": (_cnn("stages: [{channels: 0}]"), "an integer from 1 to 65536"),
    "depth of no residual network": (_cnn("preset: resnet, depth: 21"), "20 or 26, not 21"),
    "a layer of no known name": (_sequential("[Lineer]"), "did you mean: Linear"),
    "a layer's unknown argument": (
        _sequential("[{Linear: {out: 3}}]"),
        ":2: model.layers.0.Linear",
    ),
    "a layer by a dotted path": (_sequential("[os.system]"), "there is no layer os.system"),
    "no layers": (_sequential("[]"), ":2: model.layers"),
    "a layer that does not fit": (
        _sequential("[{MaxPool2d: 99}]"),
        ":2: model.layers.0: MaxPool2d",
    ),
    "30 levels of residuals": (
        _sequential("[{residual: " * 14 + "[Tanhh]" + "}]" * 14),
        "did you mean: Tanh",
    ),
    # loss and optimizer
    "loss without its kind": (changed("loss: {label_smoothing: 0.1}"), ":3: loss.kind"),
    "label_smoothing 1": (
        changed("loss: {kind: cross_entropy, label_smoothing: 1}"),
        ":3: loss.label_smoothing",
    ),
    "label_smoothing below 0": (
        changed("loss: {kind: cross_entropy, label_smoothing: -0.1}"),
        "less than 1",
    ),
    "lr 0": (changed("optimizer: {lr: 0}"), ":3: optimizer.lr\n  given:   0"),
    "lr negative": (changed("optimizer: {lr: -0.1}"), "greater than 0"),
    "lr is text": (changed("optimizer: {lr: '0.1'}"), "did you mean: 0.1"),
    "lr is a bool": (changed("optimizer: {lr: true}"), ":3: optimizer.lr\n  given:   true"),
    "lr is null": (changed("optimizer: {lr: }"), ":3: optimizer.lr"),
    "lr is NaN": (changed("optimizer: {lr: .nan}"), ":3: optimizer.lr\n  given:   .nan"),
    "lr is infinite": (changed("optimizer: {lr: .inf}"), ":3: optimizer.lr\n  given:   .inf"),
    "lr overflows": (changed("optimizer: {lr: 1e999}"), ":3: optimizer.lr"),
    "lr underflows": (changed("optimizer: {lr: 1e-999}"), ":3: optimizer.lr"),
    "lr is a 400-digit integer": (changed(f"optimizer: {{lr: {'9' * 400}}}"), ":3: optimizer.lr"),
    "lr is an expression": (changed("optimizer: {lr: 2 ** -3}"), ":3: optimizer.lr"),
    "lr is a list": (changed("optimizer: {lr: [0.1]}"), ":3: optimizer.lr"),
    "momentum 1": (changed("optimizer: {momentum: 1}"), ":3: optimizer.momentum"),
    "nesterov yes": (changed("optimizer: {nesterov: yes}"), "did you mean: true"),
    "nesterov 1": (changed("optimizer: {nesterov: 1}"), "true or false"),
    "weight_decay below 0": (changed("optimizer: {weight_decay: -1}"), "optimizer.weight_decay"),
    "one beta": (changed("optimizer: {kind: adam, betas: [0.9]}"), ":3: optimizer.betas"),
    "three betas": (changed("optimizer: {kind: adam, betas: [0, 0, 0]}"), "a list of 2 values"),
    "beta 1": (changed("optimizer: {kind: adamw, betas: [0.9, 1]}"), ":3: optimizer.betas.1"),
    "betas is a number": (changed("optimizer: {kind: adam, betas: 0.9}"), ":3: optimizer.betas"),
    "eps 0": (changed("optimizer: {kind: rmsprop, eps: 0}"), ":3: optimizer.eps"),
    "lbfgs has no weight_decay": (
        changed("optimizer: {kind: lbfgs, weight_decay: 0.1}"),
        "optimizer.weight_decay\n  given:   an unknown key",
    ),
    "lbfgs by another search": (
        changed("optimizer: {kind: lbfgs, line_search: armijo}"),
        ":3: optimizer.line_search",
    ),
    "lbfgs of no iterations": (
        changed("optimizer: {kind: lbfgs, iterations: 0}"),
        ":3: optimizer.iterations",
    ),
    "muon of 100 Newton-Schulz steps": (
        changed("optimizer: {kind: muon, newton_schulz_steps: 100}"),
        "from 1 to 99",
    ),
    "decay_norm_and_bias no": (
        changed("optimizer: {decay_norm_and_bias: no}"),
        "did you mean: false",
    ),
    # schedule, train, monitor, checkpoint
    "warmup_steps below 0": (changed("schedule: {warmup_steps: -1}"), ":3: schedule.warmup_steps"),
    "gamma 0": (changed("schedule: {kind: step, gamma: 0}"), ":3: schedule.gamma"),
    "gamma above 1": (changed("schedule: {kind: step, gamma: 1.1}"), ":3: schedule.gamma"),
    "step every 0 epochs": (changed("schedule: {kind: step, every_epochs: 0}"), ":3: schedule."),
    "no milestones": (
        changed("schedule: {kind: multistep, milestones: []}"),
        ":3: schedule.milestones",
    ),
    "milestones that decrease": (
        changed("schedule: {kind: multistep, milestones: [9, 3]}"),
        "milestones must increase",
    ),
    "a milestone of 0 epochs": (
        changed("schedule: {kind: multistep, milestones: [0, 3]}"),
        ":3: schedule.milestones.0",
    ),
    "a cycle that only rises": (
        changed("schedule: {kind: one_cycle, rise_fraction: 1}"),
        ":3: schedule.rise_fraction",
    ),
    "a cycle that falls at once": (
        changed("schedule: {kind: one_cycle, initial_divisor: 0.5}"),
        "at least 1",
    ),
    "a plateau that never drops": (
        changed("schedule: {kind: plateau, factor: 1}"),
        ":3: schedule.factor",
    ),
    "final_factor above 1": (changed("schedule: {kind: cosine, final_factor: 2}"), "from 0 to 1"),
    "epochs 0": (changed("train: {epochs: 0}"), ":3: train.epochs"),
    "epochs -1": (changed("train: {epochs: -1}"), ":3: train.epochs\n  given:   -1"),
    "epochs 1.5": (changed("train: {epochs: 1.5}"), ":3: train.epochs"),
    "epochs huge": (changed("train: {epochs: 1000000000000}"), "from 1 to 1000000"),
    "epochs null": (changed("train: {epochs: null}"), ":3: train.epochs"),
    "epochs as a time": (changed("train: {epochs: 12:30:45}"), ":3: train.epochs"),
    "steps 0": (changed("train: {steps: 0}"), "or null"),
    "steps is text": (changed("train: {steps: none}"), ":3: train.steps"),
    "log_every 0": (changed("monitor: {log_every: 0}"), ":3: monitor.log_every"),
    "checkpoint every 0 epochs": (changed("checkpoint: {every_epochs: 0}"), ":3: checkpoint."),
    "keep_last 0": (changed("checkpoint: {keep_last: 0}"), ":3: checkpoint.keep_last"),
}

BROKEN_OVERRIDES: dict[str, tuple[list[str], str]] = {
    "no equals sign": (["train.epochs"], "override 'train.epochs'"),
    "no key": (["=3"], "override '=3'"),
    "empty word": ([""], "override ''"),
    "empty part of a key": (["train..epochs=3"], "override 'train..epochs=3'"),
    "a dot at the end": (["train.=3"], "override 'train.=3'"),
    "through a scalar": (["model.kind.x=3"], "model.kind is mlp, which has no keys"),
    "beyond a list's end": (["model.hidden.7=3"], "model.hidden has no item 7"),
    "a negative position": (["model.hidden.-1=3"], "model.hidden has no item -1"),
    "a position that is text": (["model.hidden.first=3"], "model.hidden has no item first"),
    "40 keys deep": ([".".join("a" * 40) + "=1"], "at most 32 keys deep"),
    "out of range": (["model.hidden.0=-5"], "override 'model.hidden.0=-5': model.hidden.0"),
    "wrong type": (["train.epochs=many"], "override 'train.epochs=many': train.epochs"),
    "no value": (["train.epochs="], "given:   null"),
    "unknown key": (["optimizer.momentun=0.9"], "did you mean: momentum"),
    "unknown section": (["optimiser.lr=0.1"], "did you mean: optimizer"),
    "unknown kind": (["optimizer.kind=adamm"], "did you mean: adam"),
    "section replaced by a scalar": (["train=3"], "override 'train=3': train"),
    "not YAML": (["model.hidden=[3"], NOT_YAML),
    "two documents": (["name=a\n---\nb"], "a second document"),
    "python tag": (["name=!!python/object/apply:os.system [id]"], NO_TAGS),
    "anchor": (["name=&a run"], "the anchor &a"),
    "alias": (["name=*a"], "the alias *a"),
    "duplicate key": (["train={epochs: 1, epochs: 2}"], ONCE),
    "100,000 brackets": (["model.hidden=" + "[" * 100_000], "32 levels"),
    "5,000-digit integer": (["seed=" + "9" * 5000], "a number of 5000 characters"),
    "control character": (["name=\x1b[31m"], NOT_YAML),
    "name above the runs": (["name=../../x"], "override 'name=../../x': name"),
    "an argument that is not UTF-8": (["name=\udcff"], NOT_YAML),
    "the last of two": (["seed=1", "seed=-1"], "override 'seed=-1': seed"),
    "two at once": (["seed=-1", "train.epochs=0"], "override 'seed=-1': seed"),
}
