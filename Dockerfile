# One image for every process: `serve`, `worker`, or both with a Valkey of their own (`up`).
# A tag may stand for another image tomorrow: build with --build-arg PYTHON_IMAGE=python@sha256:… where that matters.
ARG PYTHON_IMAGE=python:3.12-slim
FROM ${PYTHON_IMAGE}

# PyTorch's index without CUDA; empty takes torch, with CUDA, from where pip looks by default.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

WORKDIR /opt/driftline
COPY constraints.txt ./
RUN pip install --no-cache-dir --no-deps -c constraints.txt ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch

COPY pyproject.toml setup.py README.md LICENSE ./
COPY driftline driftline
COPY app app
COPY worker worker
# What sources, object stores and identity providers need: see the extras in pyproject.toml.
ARG EXTRAS=demo,object-store
RUN pip install --no-cache-dir -c constraints.txt ".[${EXTRAS}]"

RUN useradd --uid 1000 --create-home driftline && install --directory --owner driftline --mode 700 /data
USER driftline
WORKDIR /home/driftline
# Containers on the same kind of CPU need not compile; on others each start does, where the image is mounted read-only.
RUN python -m driftline.networks.kernels
ENV DRIFTLINE_DATA_DIR=/data
VOLUME /data
EXPOSE 8000

HEALTHCHECK --interval=5s --timeout=3s --start-period=30s CMD ["python", "-c", \
    "import http.client as c; h = c.HTTPConnection('127.0.0.1', 8000, timeout=2); h.request('GET', '/livez'); exit(h.getresponse().status != 200)"]

# Listening on every address needs a key: docker run -v … IMAGE keys create --scope admin
ENTRYPOINT ["driftline"]
CMD ["up", "--host", "0.0.0.0"]
