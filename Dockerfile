# docker build -t bptrain .
# docker run --gpus all --ipc=host -v bptrain-runs:/work/runs bptrain fit configs/digits_mlp.yaml

FROM pytorch/pytorch:2.10.0-cuda12.8-cudnn9-runtime

# The image's own Python carries its torch and torchvision: installing beside them is the point.
ENV PIP_BREAK_SYSTEM_PACKAGES=1 \
    PIP_NO_CACHE_DIR=1 \
    PYTHONUNBUFFERED=1

COPY pyproject.toml README.md /src/
COPY bptrain /src/bptrain
RUN python -m pip install /src && rm -r /src

RUN useradd --create-home bptrain \
    && mkdir -p /work/runs /work/data \
    && chown -R bptrain:bptrain /work
COPY --chown=bptrain:bptrain configs /work/configs

USER bptrain
WORKDIR /work
VOLUME ["/work/runs", "/work/data"]

STOPSIGNAL SIGTERM
ENTRYPOINT ["bptrain"]
CMD ["--help"]
