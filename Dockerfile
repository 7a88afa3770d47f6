# CPU:  docker build -t ssd .
# CUDA: docker build -t ssd --build-arg TORCH_INDEX= .
#       PyPI's torch brings its CUDA along; the host needs a driver and the NVIDIA container toolkit (--gpus all).
# Then: docker run --rm --shm-size 2g -v "$PWD:/work" ssd train quickstart
ARG PYTHON=3.12
FROM python:${PYTHON}-slim
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_NO_CACHE_DIR=1 PYTHONUNBUFFERED=1

# What the wheel of opencv-python expects of the system.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*

# Apart, since it is large and seldom changes.
# hadolint ignore=DL3013
RUN pip install ${TORCH_INDEX:+--index-url "${TORCH_INDEX}"} torch torchvision

WORKDIR /opt/ssd
COPY pyproject.toml setup.py README.md LICENSE ./
COPY configs configs
COPY ssd ssd
# hadolint ignore=DL3013
RUN pip install '.[onnx,safetensors]' && useradd --create-home --uid 1000 ssd

USER 1000
WORKDIR /work
ENTRYPOINT ["ssd"]
CMD ["doctor"]
