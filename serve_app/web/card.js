// One product and its reason. All that comes from the server becomes text nodes; nothing here knows how a page is asked for.

import { Problem, json } from "./server.js";
import { say } from "./words.js";

let made = 0;

export function node(tag, { children = [], ...properties } = {}) {
  const it = Object.assign(document.createElement(tag), properties);
  it.append(...children);
  return it;
}

const said = (tag, key, values, properties) => say(node(tag, properties), key, values);

// As a shop wrote it: a screen reader needs to be told where another language than the page's begins.
const tongue = (text) => (/\p{Script=Han}/u.test(text) ? "zh-Hans" : "en");
export const foreign = (tag, text, properties = {}) => node(tag, { lang: tongue(text), textContent: text, ...properties });

function price({ minor, currency }) {
  const format = new Intl.NumberFormat("zh-CN", { style: "currency", currency, currencyDisplay: "narrowSymbol" });
  return format.format(minor / 10 ** format.resolvedOptions().maximumFractionDigits);
}

export class Card {
  constructor(product) {
    const id = `card-${(made += 1)}`;
    this.product = product;
    this.item = null; // the reason as the server told it
    this.page = null; // what the server says of the whole answer that it came with, once that was whole
    this.settled = false; // whether there is nothing to ask
    this.title = foreign("h2", product.title, { id: `${id}-title`, tabIndex: -1 });
    this.reason = node("div", { className: "reason" });
    this.why = this.#panel("why", id);
    this.verify = this.#panel("verify", id);
    const facts = [product.category, ...(product.price ? [price(product.price)] : [])].map((text) => foreign("span", text));
    const attributes = product.attributes.map(({ key, value }) => foreign("li", `${key} ${value}`));
    this.article = node("article", {
      children: [
        this.title,
        node("p", { className: "about", children: facts }),
        node("ul", { className: "attributes", children: attributes }),
        this.reason,
        node("div", { className: "actions", children: [this.why.button, this.verify.button] }),
        this.why.region,
        this.verify.region,
      ],
    });
    this.article.setAttribute("aria-labelledby", this.title.id);
    this.li = node("li", { children: [this.article] });
  }

  // A button and what it opens; both buttons of all cards say the same, so each is named with its product's title.
  #panel(name, id) {
    const region = node("section", { id: `${id}-${name}`, className: name, hidden: true });
    const button = said("button", name, {}, { type: "button", id: `${id}-${name}-button`, disabled: true });
    button.setAttribute("aria-expanded", "false");
    button.setAttribute("aria-controls", region.id);
    for (const it of [button, region]) it.setAttribute("aria-labelledby", `${button.id} ${this.title.id}`);
    const open = (wanted) => {
      region.hidden = !wanted;
      button.setAttribute("aria-expanded", wanted);
      this.article.classList.toggle(name, wanted);
      if (wanted && name === "verify") this.#verified();
    };
    button.addEventListener("click", () => open(region.hidden));
    return { region, button, open };
  }

  // Where the focus was inside, the button that opened it has it then.
  close() {
    for (const { region, button, open } of [this.why, this.verify]) {
      if (region.contains(document.activeElement)) button.focus();
      open(false);
    }
  }

  // What stands here stays until something else comes.
  wait() {
    this.article.setAttribute("aria-busy", "true");
    if (!this.item) this.reason.replaceChildren(said("p", "waiting", {}, { className: "waiting" }));
  }

  leave() {
    this.article.removeAttribute("aria-busy");
    if (!this.item) this.reason.replaceChildren();
  }

  show(item) {
    this.item = item;
    this.page = null;
    this.article.removeAttribute("aria-busy");
    const shown = item.status === "ok";
    this.why.button.disabled = !shown;
    this.verify.button.disabled = true;
    if (!shown) {
      this.close();
      const { message, code, retryable } = item.error;
      const onclick = () => this.li.dispatchEvent(new Event("again", { bubbles: true }));
      const again = retryable ? [said("button", "again", {}, { type: "button", onclick })] : [];
      return this.reason.replaceChildren(said("p", "missing", { code }, { className: "missing" }), foreign("p", message), ...again);
    }
    const labels = [said("span", `source.${item.source}`, {}, { className: `source ${item.source}` })];
    if (item.aigc?.display) labels.push(foreign("span", item.aigc.display, { className: "ai" }));
    if (item.degraded) labels.push(said("span", "degraded", { why: { key: `degraded.${item.degraded}` } }, { className: "degraded" }));
    this.reason.replaceChildren(marked(item.text, item.evidence ?? []), node("p", { className: "labels", children: labels }));
    this.why.region.replaceChildren(...explained(item));
    this.#offer();
  }

  // The answer was whole: what it says of itself is signed along with each of its items.
  conclude(page) {
    this.page = page;
    this.settled = !this.item.error?.retryable;
    this.verify.button.disabled = this.item.status !== "ok";
    if (!this.verify.region.hidden) this.#verified();
  }

  #offer() {
    const box = node("textarea", { id: `${this.verify.region.id}-text`, value: this.item.text, rows: 3, lang: tongue(this.item.text) });
    const result = node("p", { className: "result", role: "status" });
    const again = said("button", "verify.again", {}, { type: "button" });
    const back = said("button", "verify.back", {}, { type: "button" });
    box.addEventListener("input", () => { say(result, "verify.changed").dataset.valid = ""; });
    again.addEventListener("click", () => this.#verified());
    back.addEventListener("click", () => { box.value = this.item.text; this.#verified(); });
    Object.assign(this.verify, { box, result });
    const label = said("label", "verify.text", {}, { htmlFor: box.id });
    this.verify.region.replaceChildren(label, box, node("div", { className: "actions", children: [again, back] }), result);
  }

  // What comes when the text is another again says nothing of it. Before the answer is whole nothing is asked: its end does.
  async #verified() {
    const { box, result } = this.verify;
    const [text, { signature }] = [box.value, this.item];
    say(result, "verify.asking").dataset.valid = "";
    if (!this.page) return;
    try {
      const told = await json("../v1/reasons:verify", { body: { ...this.page, items: [{ ...this.item, text }] } });
      if (box.value !== text) return;
      const [{ valid, code }] = told.items;
      const until = signature && new Date(signature.expires_at * 1000).toLocaleString("sv-SE").slice(0, 16);
      say(result, valid ? "valid" : signature ? code : "unsigned", { until }).dataset.valid = valid;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      say(result, `problem.${error.code}`).dataset.valid = false;
    }
  }
}

// The text, with what rests on something marked by its number. Spans count code points, as no JavaScript string does by itself.
function marked(text, evidence) {
  const points = Array.from(text);
  const edges = [...new Set([0, points.length, ...evidence.flatMap(({ span }) => span)])].sort((a, b) => a - b);
  const parts = edges.slice(1).map((end, at) => {
    const piece = points.slice(edges[at], end).join("");
    const numbers = evidence.flatMap(({ span }, number) => (span[0] <= edges[at] && end <= span[1] ? [number + 1] : []));
    if (!numbers.length) return piece;
    const mark = node("mark", { textContent: piece });
    mark.dataset.number = numbers.join(",");
    return mark;
  });
  return node("p", { className: "text", lang: tongue(text), children: parts });
}

function explained({ evidence = [], verdict, controls, attempts, degraded, aigc }) {
  const facts = evidence.map((one) => {
    const [whose, what, ...name] = one.source.split(".");
    const fact = { key: `fact.${whose}.${what}`, name: name.join(".") };
    return node("li", { children: [foreign("q", one.text), " ", said("span", "rests", { fact }), foreign("span", one.value ?? one.source)] });
  });
  const checks = Object.entries(verdict?.checks ?? {}).map(([name, { passed, findings = [] }]) => {
    const result = passed ? "passed" : "failed";
    const children = [said("span", `check.${name}`), " ", said("b", result), ...findings.map((one) => foreign("p", one))];
    return node("li", { className: result, children });
  });
  const codes = Object.entries(controls ?? {}).flatMap(([name, value]) => [
    said("span", `code.${name}`), " ", said("b", `code.${name}.${value}`), " ",
  ]);
  const scored = verdict?.score == null ? said("p", "score.none") : said("p", "score", { score: verdict.score.toFixed(2) });
  const { producer, produce_id: id } = aigc ?? {};
  return [
    said("h3", "evidence"),
    facts.length ? node("ol", { children: facts }) : said("p", "evidence.none"),
    said("h3", "checks"),
    scored,
    node("ul", { className: "checks", children: checks }),
    said("h3", "made"),
    node("ul", {
      children: [
        node("li", { children: codes.length ? codes : [said("span", "codes.none")] }),
        said("li", "attempts", { attempts: attempts ?? 0 }),
        ...(degraded ? [said("li", "degraded", { why: { key: `degraded.${degraded}` } })] : []),
        ...(aigc ? [said("li", aigc.label ? "label" : "label.none", { producer, id })] : []),
      ],
    }),
  ];
}
