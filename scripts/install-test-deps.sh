#!/usr/bin/env bash
# Installs what `.ci/run` needs beyond a stable Rust toolchain, as far as it is missing. For Debian and its relatives.
set -euo pipefail

packages=()
command -v python3 >/dev/null || packages+=(python3) # examples/client.py and scripts/
command -v c++ >/dev/null || packages+=(g++)         # libFuzzer is C++
if [ ${#packages[@]} -gt 0 ]; then
    apt-get update
    apt-get install -y --no-install-recommends "${packages[@]}"
fi

cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
cargo clippy --version >/dev/null 2>&1 || rustup component add clippy
# cargo-fuzz itself is installed by scripts/fuzz-smoke.sh, in the version that it was tested with.
cargo +nightly --version >/dev/null 2>&1 || rustup toolchain install nightly --profile minimal
