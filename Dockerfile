# syntax=docker/dockerfile:1
# docker build -t bptrain .
# docker run --init --gpus all --shm-size=2g -v bptrain-runs:/work/runs bptrain fit configs/digits_mlp.yaml
#
# Without CUDA, a fifth of the size:  --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu
# The same image every time:          --build-arg BASE_IMAGE=python:3.13-slim-bookworm@sha256:...

ARG BASE_IMAGE=python:3.13-slim-bookworm

# What to install, and nothing else of pyproject.toml: a change elsewhere in it installs nothing anew.
FROM ${BASE_IMAGE} AS requirements
WORKDIR /src
COPY pyproject.toml .
RUN python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb')); \
    print(*p['project']['dependencies'], *p['build-system']['requires'], sep='\n')" > requirements.txt

FROM ${BASE_IMAGE}
ARG TORCH_INDEX=""
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PYTHONUNBUFFERED=1 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

RUN useradd --create-home bptrain \
    && mkdir -p /work/runs /work/data \
    && chown -R bptrain:bptrain /work

# Dependencies come before the code, in the versions that were tested: an edit installs none anew.
WORKDIR /src
COPY --from=requirements /src/requirements.txt .
COPY constraints.txt .
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m pip install -r requirements.txt -c constraints.txt \
    ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"}

COPY pyproject.toml README.md ./
COPY bptrain bptrain
RUN python -m pip install --no-cache-dir --no-deps --no-build-isolation . && rm -r /src/*

COPY --chown=bptrain:bptrain configs /work/configs

USER bptrain
WORKDIR /work
VOLUME ["/work/runs", "/work/data"]

STOPSIGNAL SIGTERM
ENTRYPOINT ["bptrain"]
CMD ["--help"]
