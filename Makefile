# The commands of the project. `make test` is what must pass before a commit; `.ci/run` is that and a round of fuzzing.
CARGO ?= cargo
# Seconds for each fuzz target.
FUZZ_SECONDS ?= 20

.PHONY: test size clients librdkafka librdkafka-long oracle lint fmt fuzz-smoke fuzz-seed bench install-test-deps

test: lint
	# The tests start the real binaries, which Cargo does not build for them across packages.
	$(CARGO) build --locked --workspace --bins
	$(CARGO) test --locked --workspace --no-fail-fast

# One small binary: it stays under 3 MB.
size:
	$(CARGO) build --locked --release --bin krappy
	@bytes=$$(stat -c %s "$${CARGO_TARGET_DIR:-target}/release/krappy"); \
		echo "krappy has $$bytes bytes, of 3000000"; test "$$bytes" -lt 3000000

# Real Kafka clients against the release broker: docs/TESTING.md says what they need.
clients:
	scripts/install-test-deps.sh
	$(CARGO) build --locked --release --bin krappy
	tests/clients/run.sh --start "$${CARGO_TARGET_DIR:-target}/release/krappy" $(CLIENTS)

# The same requests to krappy and to a real Apache Kafka. RECORD=yes writes Kafka's answers down, for tests without one.
oracle:
	scripts/install-test-deps.sh
	tests/clients/run.sh --install tools
	# As a part of the workspace, so that what `make test` has compiled is not compiled again with other features.
	KRAPPY_ORACLE=$(CURDIR)/scripts/kafka-oracle.sh $(if $(RECORD),KRAPPY_ORACLE_RECORD=$(RECORD)) \
		$(CARGO) test --locked --workspace --test oracle

# librdkafka's own tests of a broker: those that pass and are quick, in about two minutes, and then those that have
# members of groups, by the newer protocol of groups. The first run builds librdkafka, which takes a few minutes more.
librdkafka:
	scripts/install-test-deps.sh
	$(CARGO) build --locked --release --bin krappy
	tests/librdkafka/run.sh --start "$${CARGO_TARGET_DIR:-target}/release/krappy" $(LIBRDKAFKA)
	$(if $(LIBRDKAFKA),,$(MAKE) librdkafka LIBRDKAFKA=--consumer-protocol)

# All of them, also those that are expected to fail, which takes some fifteen minutes.
librdkafka-long:
	$(MAKE) librdkafka LIBRDKAFKA="--long $(LIBRDKAFKA)"
	$(MAKE) librdkafka LIBRDKAFKA="--long --consumer-protocol $(LIBRDKAFKA)"

lint:
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml --check
	$(CARGO) fmt --manifest-path bench-peers/Cargo.toml --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" $(CARGO) doc --locked --workspace --no-deps --document-private-items --quiet

# rustfmt leaves comments alone on the stable toolchain, so the second command wraps them.
fmt:
	$(CARGO) fmt --all
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml
	$(CARGO) fmt --manifest-path bench-peers/Cargo.toml
	scripts/wrap-comments.py

fuzz-smoke:
	$(CARGO) test --locked --manifest-path fuzz/Cargo.toml --lib
	scripts/fuzz-smoke.sh $(FUZZ_SECONDS)

fuzz-seed:
	scripts/fuzz-seed.sh

bench:
	scripts/bench.sh

install-test-deps:
	scripts/install-test-deps.sh
