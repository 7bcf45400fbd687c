# Both programs, static, in an image without anything else: `docker build .`
#
# Where they are built already, a folder with `out/` in it stands for the first stage, here and on
# the test bed: `--build-context build=FOLDER`.
FROM docker.io/library/rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --package membership-operator --bins \
    && mkdir /out \
    && cp target/*/release/membership-operator target/*/release/membershipd /out/

FROM scratch
COPY --from=build /out/ /
USER 65532:65532
ENTRYPOINT ["/membership-operator"]
CMD ["run"]
