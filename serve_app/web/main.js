// The page: what is searched and switched becomes one request for all its cards, and whatever fails can be asked again.

import { Card, foreign, node } from "./card.js";
import { Problem, json, reasons, useKey } from "./server.js";
import { learn, say, speak } from "./words.js";

const MOST = 48; // a request for reasons holds 50 items
const at = (id) => document.getElementById(id);
const [words, user, personalise, deadline, status, problem, list, more] = [
  "words", "user", "personalise", "deadline", "status", "problem", "cards", "more",
].map(at);

let cards = [];
let next = null; // where more products begin
let sought = ""; // the words that the cards were found by
let looking = new AbortController();
let asking = new AbortController();

// Runs what may fail; where it does, says so, and offers to do it again.
async function trying(what) {
  if (problem.contains(document.activeElement)) list.focus();
  problem.replaceChildren();
  try {
    await what();
  } catch (error) {
    if (error instanceof Problem) tell(error, () => trying(what));
    else if (error.name !== "AbortError") throw error;
  }
}

function tell(error, again) {
  const told = [say(node("h2"), `problem.${error.code}`), node("p", { lang: "en", textContent: error.detail })];
  if (error.retryAfter) told.push(say(node("p"), "after", { seconds: error.retryAfter }));
  if (error.requestId) told.push(say(node("p", { className: "request" }), "request", { id: error.requestId }));
  if (error.code === "unauthorised") {
    const field = node("input", { id: "key", type: "password", autocomplete: "off", required: true });
    const entered = (event) => { event.preventDefault(); useKey(field.value.trim()); again(); };
    const label = say(node("label", { htmlFor: "key" }), "key");
    told.push(node("form", { onsubmit: entered, children: [label, field, say(node("button"), "key.use")] }));
  } else told.push(say(node("button", { type: "button", onclick: again }), "again"));
  problem.replaceChildren(...told);
  status.textContent = "";
  delete status.dataset.word;
}

async function open() {
  const shop = await json("shop");
  learn(shop.vocabulary);
  user.replaceChildren(say(node("option", { value: "" }), "user.new"));
  for (const one of shop.users) {
    const option = say(node("option", { value: one.user_id }), "user.known", { id: one.user_id, events: one.num_events });
    user.append(Object.assign(option, { lately: one.lately }));
  }
  at("codes").replaceChildren(...shop.vocabulary.controls.map(codeField));
  showPast();
  await search();
}

function codeField({ name, values }) {
  const select = node("select", { id: `code-${name}`, name });
  for (const value of ["auto", "none"]) select.append(say(node("option", { value }), `choice.${value}`));
  for (const value of values) select.append(say(node("option", { value: `=${value.name}` }), `code.${name}.${value.name}`));
  return node("div", { className: "field", children: [say(node("label", { htmlFor: select.id }), `code.${name}`), select] });
}

// "auto" leaves a control to the user's taste or the default, "none" asks for no code whatever those say.
function codes() {
  const chosen = [...at("codes").querySelectorAll("select")].filter(({ value }) => value !== "auto");
  return Object.fromEntries(chosen.map(({ name, value }) => [name, value === "none" ? null : value.slice(1)]));
}

function showPast() {
  const lately = Object.entries(user.selectedOptions[0]?.lately ?? {});
  if (!lately.length || !personalise.checked) return say(at("past"), "past.none");
  const told = lately.map(([kind, title]) => node("span", { children: [say(node("span"), `past.${kind}`), " ", foreign("span", title)] }));
  at("past").replaceChildren(...told);
  delete at("past").dataset.word;
}

const listed = (q, offset, signal) => json(`products?${new URLSearchParams({ q, offset })}`, { signal });

async function search() {
  looking.abort();
  looking = new AbortController();
  say(status, "loading");
  const q = words.value.trim();
  const found = await listed(q, 0, looking.signal);
  sought = q;
  cards = [];
  list.replaceChildren();
  add(found);
}

async function further() {
  const first = cards.length;
  add(await listed(sought, next));
  cards[first]?.title.focus(); // the button may be gone
}

function add(found) {
  const added = found.products.map((product) => new Card(product));
  cards.push(...added);
  list.append(...added.map((card) => card.li));
  next = found.next_offset;
  more.hidden = next === null || cards.length >= MOST;
  trying(fill);
}

// One request for all that have none yet, whatever was being asked; cards fill as their lines come, whichever is first.
async function fill() {
  asking.abort();
  asking = new AbortController();
  const { signal } = asking;
  const begun = performance.now();
  const empty = cards.filter((card) => !card.settled);
  if (!empty.length) return cards.length || say(status, "nothing");
  const items = empty.map(({ product }) => ({ product_id: product.product_id }));
  const body = { items, controls: codes(), personalise: personalise.checked };
  if (user.value) body.user = { user_id: user.value };
  for (const card of empty) card.wait();
  say(status, "writing", { done: 0, all: empty.length });
  let done = 0;
  const show = ({ index, item }) => {
    empty[index].show(item);
    say(status, "writing", { done: (done += 1), all: empty.length });
  };
  try {
    const end = await reasons(body, { deadlineMs: deadline.value, signal }, show);
    for (const card of empty) card.conclude(end);
  } finally {
    if (!signal.aborted) for (const card of empty) card.leave();
  }
  const counts = { model: 0, cache: 0, template: 0, error: 0 };
  for (const { item } of empty) counts[item.source ?? "error"] += 1;
  say(status, "done", { all: empty.length, seconds: ((performance.now() - begun) / 1000).toFixed(1), ...counts });
}

// With other switches every card is written anew.
function switched() {
  showPast();
  for (const card of cards) card.settled = false;
  trying(fill);
}

at("search").addEventListener("submit", (event) => { event.preventDefault(); trying(search); });
at("switches").addEventListener("submit", (event) => event.preventDefault());
at("switches").addEventListener("change", switched);
at("languages").addEventListener("click", ({ target }) => target.matches("button") && speak(target.lang));
list.addEventListener("again", () => trying(fill));
more.addEventListener("click", () => trying(further));
document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input:not([type=checkbox]), textarea, select");
  if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    words.focus();
  } else if (event.key === "Escape") {
    const inside = cards.find((card) => card.li.contains(event.target));
    (inside ? [inside] : cards).forEach((card) => card.close());
  }
});

speak();
trying(open);
