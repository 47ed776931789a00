"""Writes the dashboards beside it: `python k8s/monitoring/dashboards.py`. A panel is a few lines here, and forty in Grafana's JSON."""

import json
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "dashboards"
WIDTH, HEIGHT = 8, 8
"""Of a panel, on Grafana's grid of 24: three in a row."""


@dataclass(frozen=True, slots=True)
class Panel:
    title: str
    unit: str
    """as Grafana calls it: reqps, s, percentunit, short"""
    description: str
    queries: tuple[tuple[str, str], ...]
    """expression and legend"""
    kind: str = "timeseries"


def rate(metric: str, selector: str = "") -> str:
    return f"rate(ray_{metric}{selector and '{' + selector + '}'}[$__rate_interval])"


def by(label: str, metric: str, selector: str = "") -> tuple[tuple[str, str], ...]:
    return ((f"sum by ({label}) ({rate(metric, selector)})", f"{{{{{label}}}}}"),)


def share(part: str, whole: str) -> str:
    """0 where the part never was; nothing where there is no whole."""
    return f"(sum({part}) or vector(0)) / sum({whole})"


def quantile(q: float, metric: str, selector: str = "", label: str = "") -> str:
    return f"histogram_quantile({q}, sum by (le{label and ', ' + label}) ({rate(metric + '_bucket', selector)}))"


PAGES, ITEMS = 'route="/v1/reasons"', "reco_reason_items_total"
REQUESTS, SECONDS, STAGES = "reco_reason_requests_total", "reco_reason_request_seconds", "reco_reason_stage_seconds"
CANDIDATES, BLOCKS, LEFT = "reco_reason_candidates_total", "reco_reason_guard_blocks_total", "reco_reason_deadline_remaining_seconds"
FAILED = f'{PAGES}, outcome=~"failed|unavailable"'
SERVE = '{application="liyou"}'
LATENCIES = tuple((quantile(q, SECONDS, PAGES), f"p{q * 100:.0f}") for q in (0.5, 0.95, 0.99))

DASHBOARDS = {
    "storefront": [
        Panel(
            "Pages answered",
            "percentunit",
            "Pages that got no 5xx; the aim is 99 %.",
            ((f"1 - {share(rate(REQUESTS, FAILED), rate(REQUESTS, PAGES))}", "answered"),),
            "stat",
        ),
        Panel(
            "Reasons by the model",
            "percentunit",
            "Of the items that show a text, those written by the model, now or for an earlier page.",
            ((share(rate(ITEMS, 'source=~"model|cache"'), rate(ITEMS, 'source!="none"')), "model or cache"),),
            "stat",
        ),
        Panel(
            "Bundles that answer",
            "short",
            "Replicas of api by bundle and policy; two only while a rollout or a new policy goes round.",
            (("count by (bundle, policy) (ray_reco_reason_bundle_info == 1)", "{{bundle}} {{policy}}"),),
            "stat",
        ),
        Panel(
            "Pages by outcome",
            "reqps",
            "degraded: some item shows a template; refused: the caller's mistake; left: the caller was gone first.",
            by("outcome", REQUESTS, PAGES),
        ),
        Panel("Time of a page", "s", "From the request's head to the answer's end.", LATENCIES),
        Panel(
            "Left of the deadline",
            "s",
            "When a page was answered. Near 0 for the worst twentieth: storefronts ask for less time than the model needs.",
            ((quantile(0.5, LEFT), "half of the pages have more"), (quantile(0.05, LEFT), "all but a twentieth have more")),
        ),
        Panel("Items by source", "ops", "none: an item that shows nothing; see below.", by("source", ITEMS)),
        Panel(
            "Why templates",
            "ops",
            "deadline, no_candidate_accepted, too_alike, engine_unavailable, features_unavailable, sandbox, or an error of the item.",
            by("verdict", ITEMS, 'source="template"'),
        ),
        Panel(
            "Items without a text",
            "ops",
            "By the code of their error: product_not_found is the shop's, refused means that nothing lawful could be said.",
            by("verdict", ITEMS, 'source="none"'),
        ),
        Panel(
            "Told to come again",
            "reqps",
            "rate_limited by their key; overloaded, unavailable or deadline_exceeded by us.",
            by("reason", "reco_reason_shed_total"),
        ),
    ],
    "quality": [
        Panel(
            "Texts accepted",
            "percentunit",
            "Of all that the model writes, by checks and discriminator together.",
            ((share(rate(CANDIDATES, 'verdict="accepted"'), rate(CANDIDATES)), "accepted"),),
            "stat",
        ),
        Panel(
            "Texts against the advertising rules",
            "percentunit",
            "Of all that the model writes, refused by the lexicon. None is shown.",
            ((share(rate(BLOCKS, 'rule_group="compliance"'), rate(CANDIDATES)), "compliance"),),
            "stat",
        ),
        Panel(
            "Texts that state what is not so",
            "percentunit",
            "Of all that the model writes, refused by the check of facts. None is shown.",
            ((share(rate(BLOCKS, 'rule_group="facts"'), rate(CANDIDATES)), "facts"),),
            "stat",
        ),
        Panel("Texts judged", "ops", "Candidates by verdict.", by("verdict", CANDIDATES)),
        Panel(
            "Refused by check",
            "ops",
            "A text is counted once for each check that refuses it; discriminator: every check passed, and it still reads wrong.",
            by("rule_group", BLOCKS),
        ),
        Panel(
            "Rounds of writing a page",
            "short",
            "1 where the first candidates do; what is found in the cache needs none.",
            ((share(rate(f"{STAGES}_count", 'stage="generate"'), rate(REQUESTS, f'{PAGES}, outcome=~"ok|degraded"')), "rounds"),),
        ),
        Panel(
            "Nothing good enough",
            "ops",
            "Items that show a template since no text was accepted, or since it read like another of the page.",
            by("verdict", ITEMS, 'verdict=~"no_candidate_accepted|too_alike"'),
        ),
        Panel(
            "Canaries",
            "short",
            "Nats a token. From trained has to stay below allowed, from base far above it.",
            (("max by (from) (ray_reco_reason_canary_nats)", "{{from}}"),),
        ),
        Panel(
            "Texts not on record yet",
            "short",
            "They wait for storage; lost ones will never be on record.",
            (
                ("sum(ray_reco_reason_audit_pending)", "pending"),
                ("sum(increase(ray_reco_reason_audit_lost_total[$__rate_interval]))", "lost"),
            ),
        ),
    ],
    "platform": [
        Panel(
            "Replicas that are healthy",
            "short",
            "By deployment, as Serve sees them.",
            ((f"sum by (deployment) (ray_serve_deployment_replica_healthy{SERVE})", "{{deployment}}"),),
            "stat",
        ),
        Panel(
            "Inside",
            "short",
            "HTTP requests in all replicas of api, and texts that the generators are writing.",
            (("sum(ray_reco_reason_inflight)", "requests"), ("sum(ray_reco_reason_engine_sequences)", "texts")),
        ),
        Panel(
            "Pages that wait for a replica",
            "short",
            "In their callers' queues.",
            ((f"sum by (deployment) (ray_serve_deployment_queued_queries{SERVE})", "{{deployment}}"),),
        ),
        Panel(
            "Time by stage, p95",
            "s",
            "generate and judge once a round; the calls' own way included.",
            ((quantile(0.95, STAGES, "", "stage"), "{{stage}}"),),
        ),
        Panel(
            "Time by stage, p50",
            "s",
            "generate and judge once a round; the calls' own way included.",
            ((quantile(0.5, STAGES, "", "stage"), "{{stage}}"),),
        ),
        Panel(
            "A text's share of decoding",
            "s",
            "Seconds of stepping that a finished text took lately: what replicas are scaled by.",
            (("max(ray_reco_reason_engine_sequence_seconds)", "seconds"),),
        ),
        Panel(
            "Calls that brought nothing",
            "ops",
            "Each is tried once more elsewhere. full: no queue had room; lost: the replica died.",
            (("sum by (deployment, kind) (" + rate("reco_reason_hop_failures_total") + ")", "{{deployment}} {{kind}}"),),
        ),
        Panel(
            "Found in the cache",
            "percentunit",
            "Of the reasons looked for.",
            ((share(rate("reco_reason_cache_lookups_total", 'result="hit"'), rate("reco_reason_cache_lookups_total")), "hits"),),
        ),
        Panel(
            "Redis did not answer",
            "ops",
            "limits: keys have a part of their limits; cache: every item is written.",
            by("use", "reco_reason_redis_failures_total"),
        ),
        Panel(
            "Loading a bundle",
            "s",
            "The last start of a generator, canaries included.",
            (("max(ray_reco_reason_bundle_load_seconds)", "seconds"),),
        ),
        Panel(
            "Processors and memory",
            "percent",
            "Of each node.",
            (("ray_node_cpu_utilization", "cpu {{ip}}"), ("100 * ray_node_mem_used / ray_node_mem_total", "memory {{ip}}")),
        ),
        Panel(
            "GPUs",
            "percent",
            "Of each GPU: at work, and of its memory.",
            (
                ("ray_node_gpus_utilization", "at work {{ip}} {{GpuIndex}}"),
                ("100 * ray_node_gram_used / (ray_node_gram_used + ray_node_gram_available)", "memory {{ip}} {{GpuIndex}}"),
            ),
        ),
    ],
}


def dashboard(name: str, panels: list[Panel]) -> dict[str, object]:
    return {
        "uid": f"liyou-{name}",
        "title": f"Liyou: {name}",
        "tags": ["liyou"],
        "schemaVersion": 38,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [{"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}]},
        "panels": [_panel(number, panel) for number, panel in enumerate(panels)],
    }


def _panel(number: int, panel: Panel) -> dict[str, object]:
    source = {"type": "prometheus", "uid": "${datasource}"}
    return {
        "id": number + 1,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": source,
        "gridPos": {"x": number % 3 * WIDTH, "y": number // 3 * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + at), "datasource": source, "expr": expression, "legendFormat": legend}
            for at, (expression, legend) in enumerate(panel.queries)
        ],
    }


def rendered() -> dict[str, str]:
    return {f"{name}.json": json.dumps(dashboard(name, panels), indent=1) + "\n" for name, panels in DASHBOARDS.items()}


def main() -> None:
    for file, text in rendered().items():
        (FOLDER / file).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
