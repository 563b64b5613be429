# `make` lists the targets. The shell behind them: .ci/need (Debian packages) and .ci/venv (the environment).
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
.PHONY: help run test test-clients bench clean environment

# The interpreter for a new .venv; empty: the first of python3.13, 3.12, 3.11 and python3 that will do.
export PYTHON ?=
# Passed on: make run ARGS="--offline", make test ARGS="-k clauses".
ARGS ?=
BENCH ?= latency
PY := .venv/bin/python
comma := ,
COVERED := voiceloop/core/*$(if $(wildcard voiceloop/wire/*.py),$(comma)voiceloop/wire/*)

help:
	@echo "make run           talk to it: microphone and loudspeaker, or three recordings where there is no sound device"
	@echo "make test          format, lint, types, tests, coverage of the core"
	@echo "make test-clients  tests with foreign clients, each in its own environment"
	@echo "make bench         benchmarks/latency.py, or another: make bench BENCH=name"
	@echo "make clean         removes .venv and caches"
	@echo "Arguments are passed on with ARGS=..., the Python to use with PYTHON=..."

# Without PortAudio the recordings still play, so that is no reason to stop.
run:
	@sh .ci/venv local
	@sh .ci/need libportaudio2 || true
	@.venv/bin/voiceloop run $(ARGS) || { code=$$?; [ $$code = 130 ] || exit $$code; }

environment:
	@sh .ci/need libportaudio2 espeak-ng pulseaudio pulseaudio-utils libasound2-plugins
	@sh .ci/venv local media align serve sherpa dev

test: environment
	@echo "== format" && $(PY) -m ruff format --check .
	@echo "== lint" && $(PY) -m ruff check .
	@echo "== types" && $(PY) -m pyright
	@echo "== tests, those with the sound server beside the others" && sh .ci/tests $(PY) $(ARGS)
	@echo "== branch coverage of what decides: 100 %"
	@$(PY) -m coverage report --include='$(COVERED)' --skip-covered --fail-under=100

test-clients:
	@sh .ci/venv local media align serve sherpa dev
	@sh .ci/clients
	@$(PY) -m pytest tests/clients $(ARGS)

bench:
	@sh .ci/venv local media serve dev
	@test -f benchmarks/$(BENCH).py || { echo "There is no benchmarks/$(BENCH).py." >&2; exit 1; }
	@exec $(PY) benchmarks/$(BENCH).py $(ARGS)

clean:
	rm -rf .venv .clients build dist .pytest_cache .ruff_cache .hypothesis .coverage .coverage.*
	find voiceloop tests benchmarks -name __pycache__ -prune -exec rm -rf {} +
