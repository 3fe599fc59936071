#!/usr/bin/env bash
# Installs what `.ci/run`, `make clients` and `make librdkafka` need beyond a stable Rust toolchain, as far as it is
# missing. For Debian and its relatives.
set -euo pipefail

packages=()
command -v python3 >/dev/null || packages+=(python3) # examples/client.py and scripts/
command -v c++ >/dev/null || packages+=(g++)         # libFuzzer is C++
# For `make clients` and `make oracle`; the first also needs Go 1.26: no release of Debian has that. What the clients
# themselves consist of is pinned in tests/clients, and installed by its run.sh.
command -v kcat >/dev/null || packages+=(kcat)
command -v javac >/dev/null || packages+=(openjdk-17-jdk-headless)
command -v mvn >/dev/null || packages+=(maven)
command -v npm >/dev/null || packages+=(npm)
# For `make librdkafka`: codecs, and what its tests read statistics with.
has_header() { echo "#include <$1>" | c++ -E -x c++ - >/dev/null 2>&1; }
has_header zlib.h || packages+=(zlib1g-dev)
has_header zstd.h || packages+=(libzstd-dev)
has_header rapidjson/document.h || packages+=(rapidjson-dev)
python3 -c 'import ensurepip' 2>/dev/null || packages+=(python3-venv)
if [ ${#packages[@]} -gt 0 ]; then
    apt-get update
    apt-get install -y --no-install-recommends "${packages[@]}"
fi

cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
cargo clippy --version >/dev/null 2>&1 || rustup component add clippy
# cargo-fuzz itself is installed by scripts/fuzz-smoke.sh, in the version that it was tested with.
cargo +nightly --version >/dev/null 2>&1 || rustup toolchain install nightly --profile minimal
