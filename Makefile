# make demo tries it, make test tests it. Everything is set up in .venv first, from requirements.lock alone.
# PORT and TIMEBANK_DATA are honoured: make demo PORT=9000 TIMEBANK_DATA=/srv/timebank

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

BIN := .venv/bin
READY := .venv/ready
# A worker a core, each with a PostgreSQL of its own.
PYTEST := $(BIN)/python -m pytest -n auto -o tmp_path_retention_policy=failed

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1
export PIP_ROOT_USER_ACTION := ignore

.PHONY: help
help: ## 显示这些说明 / show this
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 16

.PHONY: demo
demo: $(READY) ## 示例数据、公开数字与 API / the sample district, its figures and the API
	@exec $(BIN)/timebank demo

.PHONY: test
test: $(READY) ## 全部测试 / every test
	@if [ -z "$${TIMEBANK_DATA:-}" ]; then
		exec $(PYTEST)
	fi
	# Below the directory that was named, and away from a database that may be in it.
	if [ -n "$$(ls -A "$$TIMEBANK_DATA" 2>/dev/null)" ] && [ ! -e "$$TIMEBANK_DATA/.timebank" ]; then
		echo "TIMEBANK_DATA=$$TIMEBANK_DATA 不是空目录，也不是时间银行的数据目录，请换一个。 /" \
			"It isn't empty and isn't a data directory of the time bank; name another." >&2
		exit 1
	fi
	mkdir -p -m 700 "$$TIMEBANK_DATA"
	touch "$$TIMEBANK_DATA/.timebank"
	$(PYTEST) --basetemp="$$TIMEBANK_DATA/tests"
	rm -rf "$$TIMEBANK_DATA/tests"

.PHONY: check
check: $(READY) ## CI 的全部检查 / all that CI checks: format, lint, types, imports, tests
	@set -x
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	{ set +x; } 2>/dev/null
	exec $(MAKE) test

.PHONY: bench
bench: $(READY) ## 性能测量 / the measurements, beside their peers
	@# Compiled, as what is installed is, and as the peers are.
	@$(BIN)/python -m compileall -q api application domain infrastructure projections
	@exec $(BIN)/python -m benchmarks

.PHONY: torture
torture: $(READY) ## 故障测试（长） / crashes and races, the long form
	@TIMEBANK_TORTURE_SECONDS=$${TIMEBANK_TORTURE_SECONDS:-300} exec $(PYTEST) tests/torture

.PHONY: lock
lock: $(READY) ## 更新依赖锁定 / lock the newest releases that pyproject.toml allows
	@# From the index alone: a wheel that somebody built on this machine has a hash that nobody else can match.
	PIP_CONFIG_FILE=/dev/null PIP_FIND_LINKS= PIP_EXTRA_INDEX_URL= $(BIN)/pip-compile --quiet --upgrade \
		--extra dev --all-build-deps --generate-hashes --no-strip-extras --allow-unsafe \
		--no-header --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
		--output-file requirements.lock pyproject.toml
	# To pip 23, which comes with Python 3.11, a pin with extras is none of the package without them: it is given both.
	sed -Ezi 's/\n([A-Za-z0-9._-]+)\[[^]]+\](==[^\n]*(\\\n[^\n]*)*)/\n\1\2&/g' requirements.lock

.PHONY: clean
clean: ## 删除 .venv 与缓存，保留数据 / remove .venv and caches; data stays
	@rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is the last thing that a setup writes, and holds the place that it was made for: an interrupted setup, a
# clone that was moved and a Python that went away are all set up anew.
ifneq ($(shell [ -x $(BIN)/python ] && cat $(READY) 2>/dev/null),$(CURDIR))
.PHONY: $(READY)
endif

$(READY): requirements.lock pyproject.toml
	@fail() { printf '%s\n' "$$*" >&2; exit 1; }
	ready() { [ "$$(cat $(READY) 2>/dev/null)" = "$(CURDIR)" ] && [ -x $(BIN)/python ] && \
		[ $(READY) -nt requirements.lock ] && [ $(READY) -nt pyproject.toml ]; }
	trap 'exit 130' INT
	exec 9<.
	if ! flock -n 9; then
		echo "==> 等待另一个 make 完成安装 / Waiting for another make to finish the setup"
		flock 9
	fi
	if ready; then exit; fi
	[ -w . ] || fail "没有写入 $(CURDIR) 的权限。 / $(CURDIR) is not writable."
	python= bare=
	for name in $${PYTHON:-python3.13 python3.12 python3.11 python3}; do
		$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
		if $$name -c 'import ensurepip, venv' 2>/dev/null; then python=$$name; break; fi
		bare=$${bare:-$$name}
	done
	[ "$$python$$bare" ] || fail "需要 Python 3.11 或更高版本，请先安装。 /" \
		"Python 3.11 or later is needed; install it first."
	if [ -z "$$python" ]; then
		# Debian keeps the part of Python that makes virtual environments in a package of its own.
		python=$$bare
		package=$$($$python -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
		if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
			fail "缺少 $$package，请先运行：sudo apt-get install $$package /" \
				"$$package is missing; run: sudo apt-get install $$package"
		fi
		echo "==> 安装 $$package / Installing $$package"
		log=$$(mktemp)
		export DEBIAN_FRONTEND=noninteractive
		{ apt-get update && apt-get install -y --no-install-recommends "$$package"; } >"$$log" 2>&1 </dev/null ||
			{ tail -n 5 "$$log" >&2; fail "$$package 安装失败。 / $$package could not be installed."; }
		rm -f "$$log"
	fi
	if [ ! -e $(READY) ] || ! $(BIN)/python -c 'import pip' 2>/dev/null || [ "$$(cat $(READY))" != "$(CURDIR)" ]; then
		echo "==> 建立 .venv（$$($$python --version)） / Making .venv"
		$$python -m venv --clear .venv
	fi
	rm -f $(READY)
	echo "==> 安装锁定的依赖，首次约一分钟 / Installing the locked dependencies; about a minute the first time"
	$(BIN)/python -m pip install -qq --progress-bar off --require-hashes -r requirements.lock </dev/null ||
		fail "依赖安装失败：请检查网络与磁盘，或用 PIP_INDEX_URL 指定镜像，然后重试。 /" \
			"The dependencies could not be installed: check network and disk, or name a mirror in PIP_INDEX_URL, and try again."
	$(BIN)/python -m pip install -qq --progress-bar off --no-deps --no-build-isolation -e . </dev/null
	printf '%s\n' "$(CURDIR)" >$(READY)
	echo "==> 完成 / Ready"
