# The CPU image: docs/install.md says how to build and run it. Dockerfile.cuda is its twin.
FROM python:3.12-slim
# OpenCV loads these two.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*
COPY . /opt/hmaca
RUN python /opt/hmaca/scripts/install.py --cpu demo && rm -rf /root/.cache
# Any user may run it (docker run --user), and needs a home to write caches to.
ENV HOME=/tmp
WORKDIR /work
ENTRYPOINT ["basicsr"]
CMD ["--help"]
