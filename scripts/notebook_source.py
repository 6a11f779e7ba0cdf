# The cells of docs/notebook.ipynb, which scripts/notebook.py writes. Run it in a notebook, or
# line by line in any Python; paths are those of the repository's root.

# %% [markdown]
# # Digits in a notebook
#
# `bptrain.fit` trains what `bptrain fit` trains and returns the run. [bptrain in
# Python](python.md) lists everything that it offers.

# %%
import bptrain

run = bptrain.fit("configs/digits_mlp.yaml", train__epochs=8, monitor__log_every=20)
run.folder.name

# %% [markdown]
# `metrics()` is the run's log as a frame of polars: a row for each logged step, null where a step
# did not log a tag. The clock's columns are left out here.

# %%
log = run.metrics()
log.select("step", "train/loss", "train/accuracy", "val/loss", "val/accuracy", "grad/total").tail(4)

# %%
import matplotlib.pyplot as plt

figure, axes = plt.subplots(figsize=(6, 3))
for tag in ("train/loss", "val/loss"):
    logged = log.drop_nulls(tag)
    axes.plot(logged["step"], logged[tag], label=tag)
axes.set(xlabel="step", ylabel="loss", yscale="log")
legend = axes.legend()
# %% [markdown]
# What is wrong with the run? Nothing: the list of verdicts is empty. Another one, whose learning
# rate is too high, has a verdict with the numbers it rests on and what to change.

# %%
run.verdicts()

# %%
sick = bptrain.fit("configs/troubles/learning_rate_too_high.yaml")
for verdict in sick.verdicts():
    print("\n".join(verdict.lines))

# %% [markdown]
# `predict` takes files, arrays, tensors, or rows of a table. These are five images of
# scikit-learn's, with pixels from 0 to 16: they are scaled as the training images were.

# %%
from sklearn.datasets import load_digits

digits = load_digits()
found = run.predict(digits.images[:5])
found.select("input", "class", "probability")

# %%
evaluated = run.evaluate()
{tag: round(evaluated[tag], 3) for tag in ("test/accuracy", "baseline/majority_class/accuracy")}

# %% [markdown]
# One gradient, explained: the weight of the first layer whose gradient is largest, followed
# through the network. `dv/dw` is how a value moves with the weight, `dL/dv` how the loss moves
# with the value, and their product, summed over all values of a layer, is the gradient, in every
# layer the same.

# %%
text = bptrain.explain("configs/digits_mlp.yaml", sample=3)
print(text[text.index("One weight") :].rstrip())
