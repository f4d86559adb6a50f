# neurozoo with its backends for CPUs. NOT BUILT YET: nobody has run `docker build` on this file; the commands in it are
# those of the Makefile, which are tested. Please report what does not work.
#
#   docker build -t neurozoo .
#   docker run --rm -v "$PWD/runs:/home/user/runs" neurozoo train fsdd_small --out runs/first
#
# For another build of torch: --build-arg TORCH_ARGS="--index-url ADDRESS".
FROM python:3.11-slim

ARG TORCH_ARGS=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_CONSTRAINT=/neurozoo/constraints.txt \
    NEUROZOO_DATA=/data

COPY . /neurozoo
WORKDIR /neurozoo
# torch first and alone, so that no other package's requirement chooses its build.
RUN pip install ${TORCH_ARGS} "$(grep '^torch==' constraints.txt)" \
    && pip install '.[audio,hub,nir,parquet,plots,tensorboard,tune]' ./plugins/neurozoo-events ./plugins/neurozoo-norse \
        ./plugins/neurozoo-numba ./plugins/neurozoo-snntorch ./plugins/neurozoo-spikingjelly

RUN useradd --create-home user && mkdir /data && chown user /data
USER user
WORKDIR /home/user
ENTRYPOINT ["neurozoo"]
CMD ["--help"]
