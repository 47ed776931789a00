// What the page says, in Chinese and in English. Reasons and products stay as the server wrote them.

const WORDS = {
  "title": ["理由 · 推荐理由演示", "Liyou: recommendation reasons, tried out"],
  "skip": ["跳到商品", "Skip to the products"],
  "language": ["界面语言", "Language of the page"],
  "switches": ["开关", "Switches"],
  "cards": ["商品", "Products"],
  "lead": ["每件商品一条推荐理由：可控、有据、可验证。", "A recommendation reason for each product: controllable, founded, verifiable."],
  "words": ["搜索商品（按 / 键到这里）", "Search products (/ leads here)"],
  "find": ["搜索", "Search"],
  "more": ["更多商品", "More products"],
  "user": ["用户", "User"],
  "user.new": ["新用户", "new user"],
  "user.known": ["{id} · {events} 个事件", "{id} · {events} events"],
  "past.none": ["没有历史：理由只谈商品。", "No past: reasons speak of the product alone."],
  "personalise-title": ["个性化", "Personalise"],
  "personalise": ["使用用户的历史和偏好", "use the user’s past and tastes"],
  "deadline": ["时限", "Deadline"],
  "past.viewed": ["看过", "viewed"],
  "past.clicked": ["点过", "clicked"],
  "past.carted": ["加购", "put in the cart"],
  "past.purchased": ["买过", "bought"],
  "past.reviewed": ["评过", "reviewed"],
  "choice.auto": ["自动", "auto"],
  "choice.none": ["不要求", "none"],
  "loading": ["正在查找商品…", "Looking for products…"],
  "nothing": ["没有找到商品。换个词试试。", "No product found. Try another word."],
  "writing": ["正在写：{done}/{all}", "Writing: {done} of {all}"],
  "waiting": ["正在写这条理由…", "Writing this reason…"],
  "done": [
    "{all} 条，用时 {seconds} 秒：模型 {model}，缓存 {cache}，模板 {template}，没有理由 {error}。",
    "{all} reasons in {seconds} s: {model} by the model, {cache} from the cache, {template} by templates, {error} without.",
  ],
  "source.model": ["模型写的", "by the model"],
  "source.cache": ["缓存（模型先前写的）", "from the cache (by the model)"],
  "source.template": ["模板（人写的）", "template (by people)"],
  "degraded": ["为何用模板：{why}", "Why a template: {why}"],
  "degraded.no_candidate_accepted": ["没有候选通过检查", "no candidate passed the checks"],
  "degraded.too_alike": ["与本页别的理由太像", "too like another reason of this page"],
  "degraded.deadline": ["时限到了", "no time was left"],
  "degraded.overloaded": ["排队太长，没有开始写", "too much waits; it was not begun"],
  "degraded.engine_unavailable": ["模型没有应答", "the model did not answer"],
  "degraded.features_unavailable": ["查不到用户和商品资料", "user and product could not be looked up"],
  "degraded.prompt_too_long": ["商品文字太长", "the product’s text is too long"],
  "degraded.sandbox": ["测试用的密钥", "a key for tests"],
  "degraded.taken_down": ["原来的文字已被下架", "the text was taken down"],
  "why": ["为什么是这条？", "Why this reason?"],
  "verify": ["验证", "Verify"],
  "missing": ["没有理由（{code}）", "No reason ({code})"],
  "evidence": ["依据", "What it rests on"],
  "evidence.none": ["文字没有陈述任何可核对的事实。", "The text states no fact that could be checked."],
  "rests": ["依据{fact}：", "{fact}: "],
  "fact.product.price": ["商品价格", "the product’s price"],
  "fact.product.title": ["商品标题", "the product’s title"],
  "fact.product.category": ["商品类目", "the product’s category"],
  "fact.product.rating": ["商品评分", "the product’s rating"],
  "fact.product.rating_count": ["评价数", "number of ratings"],
  "fact.product.attributes": ["商品属性「{name}」", "the product’s attribute “{name}”"],
  "fact.user.last_viewed": ["用户最近看过", "the user viewed last"],
  "fact.user.last_clicked": ["用户最近点过", "the user clicked last"],
  "fact.user.last_carted": ["用户最近加购", "the user put in the cart last"],
  "fact.user.last_purchased": ["用户最近买过", "the user bought last"],
  "fact.user.last_reviewed": ["用户最近评过", "the user reviewed last"],
  "fact.user.viewed": ["用户看过", "the user viewed"],
  "fact.user.clicked": ["用户点过", "the user clicked"],
  "fact.user.carted": ["用户加购过", "the user put in the cart"],
  "fact.user.purchased": ["用户买过", "the user bought"],
  "fact.user.reviewed": ["用户评过", "the user reviewed"],
  "fact.user.favourites": ["用户的偏好", "the user’s favourites"],
  "checks": ["检查", "Checks"],
  "score": ["判别器评分：{score}（像真人会写的程度，0 到 1）", "Discriminator’s score: {score} (how likely a person would have written it, 0 to 1)"],
  "score.none": ["判别器没有评分：模板不评。", "No score: templates are not scored."],
  "check.facts": ["事实", "facts"],
  "check.controls": ["控制码", "control codes"],
  "check.compliance": ["合规", "compliance"],
  "check.length": ["长度", "length"],
  "check.language": ["语言", "language"],
  "check.repetition": ["重复", "repetition"],
  "passed": ["通过", "passed"],
  "failed": ["没通过", "failed"],
  "made": ["怎么来的", "How it was made"],
  "codes": ["控制码：{codes}", "Control codes: {codes}"],
  "codes.none": ["没有控制码", "No control codes"],
  "attempts": ["生成轮数：{attempts}", "Rounds of generation: {attempts}"],
  "label": ["AI 标识：模型生成，生产者 {producer}，内容编号 {id}", "AI label: by a model, producer {producer}, content number {id}"],
  "label.none": ["AI 标识：不是 AI 生成，生产者 {producer}，内容编号 {id}", "AI label: not by AI, producer {producer}, content number {id}"],
  "verify.text": ["改一个字再验证，看看会怎样", "Change a character and verify again"],
  "verify.again": ["验证这段文字", "Verify this text"],
  "verify.back": ["恢复原文", "Put it back"],
  "verify.asking": ["正在验证…", "Verifying…"],
  "verify.changed": ["文字改过了，还没有验证。", "Changed, and not verified yet."],
  "valid": ["有效：就是本平台签发的内容，有效期到 {until}。", "Valid: this is what the platform signed; it stands until {until}."],
  "signature_invalid": ["无效：这不是签发的内容。哪怕改一个字，签名也不再成立。", "Not valid: this is not what was signed. One changed character is enough."],
  "signature_expired": ["已过期：曾经签发，但已没有人为它作保。", "Expired: it was signed, and nobody vouches for it any more."],
  "taken_down": ["已下架：签名是真的，但不得再展示。", "Taken down: the signature is true, but it must not be shown any more."],
  "unsigned": ["没有签名：这台服务器没有签名密钥。", "Not signed: this server has no signing key."],
  "again": ["再试一次", "Try again"],
  "after": ["{seconds} 秒后可以再试。", "Come again in {seconds} s."],
  "request": ["请求编号 {id}", "Request {id}"],
  "key": ["API 密钥", "API key"],
  "key.use": ["使用这个密钥", "Use this key"],
  "problem.unreachable": ["连不上服务器", "The server cannot be reached"],
  "problem.broken_off": ["回答中断了，已经到的都还在", "The answer broke off; what had come is still here"],
  "problem.rate_limited": ["请求太频繁", "Too many requests"],
  "problem.overloaded": ["服务器忙", "The server is busy"],
  "problem.unavailable": ["服务暂时不可用", "Not available right now"],
  "problem.deadline_exceeded": ["时限内没有来得及", "Not in time"],
  "problem.unauthorised": ["这里要 API 密钥", "An API key is needed here"],
  "problem.forbidden": ["这个密钥不可以这样用", "This key may not do that"],
  "problem.bad_control": ["没有这个控制码", "There is no such control code"],
  "problem.bad_input": ["请求不合要求", "The request is not as it should be"],
  "problem.product_not_found": ["没有这些商品", "There are no such products"],
  "problem.internal": ["服务器出错了", "The server failed"],
};
const LANGUAGES = ["zh-Hans", "en"];

let language = navigator.language.startsWith("zh") ? "zh-Hans" : "en";

// A key that no language has says itself from its last dot on: codes and checks of another pack have names, and no words here.
function word(key, values) {
  const said = WORDS[key]?.[LANGUAGES.indexOf(language)] ?? key.slice(key.lastIndexOf(".") + 1);
  return said.replace(/\{(\w+)\}/g, (_, name) => (values[name]?.key ? word(values[name].key, values[name]) : values[name]));
}

function spoken(node) {
  const values = JSON.parse(node.dataset.values ?? "{}");
  if (node.dataset.word) node.textContent = word(node.dataset.word, values);
  if (node.dataset.label) node.setAttribute("aria-label", word(node.dataset.label, values));
}

// Values are texts, or words themselves: {key: "fact.product.price"}.
export function say(node, key, values = {}) {
  node.dataset.word = key;
  node.dataset.values = JSON.stringify(values);
  spoken(node);
  return node;
}

export function speak(next = language) {
  language = next;
  document.documentElement.lang = language;
  document.querySelectorAll("[data-word], [data-label]").forEach(spoken);
  for (const button of document.querySelectorAll("#languages button")) button.setAttribute("aria-pressed", button.lang === language);
}

// The pack's own words for its codes; in English they go by their names.
export function learn(vocabulary) {
  for (const control of vocabulary.controls) {
    WORDS[`code.${control.name}`] = [control.word];
    for (const value of control.values) WORDS[`code.${control.name}.${value.name}`] = [value.word];
  }
}
