#!/usr/bin/env bash
# Writes the seeds of every fuzz target into fuzz/corpus; run it after a format has changed.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo run --quiet --locked --manifest-path fuzz/Cargo.toml --example seed
