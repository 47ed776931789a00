"""Claims in words that state something wherever they stand (防水, 真皮, 有机认证), in Latin letters, and in denials (不含酒精)."""

import re

from common.packs.graph import Graph
from common.packs.knowledge import Knowledge
from common.quality.claims.known import Known, folded
from common.quality.claims.names import Names
from common.quality.claims.sight import Sight
from common.quality.claims.units import Units
from common.text.phrases import PhraseSet
from common.text.segments import share_of_han

_CUE = re.compile(
    r"(?P<firm>不含(?!糊)|(?:不|未|无|零|0|没有|没)添加(?!剂)|未加入|不加入)"
    r"|(?P<free>零|(?<![\d.])0(?![\d.])|无|免)"
    r"|(?P<soft>没有|没带|没用|并没有|不带|不支持|不具备|不能|无法|不可|没配|未配|不配备|未采用|不采用|并不是|并非|不是|绝非|而非|非|不加|没加|未加|没放|没兑|不放|不走|不做|不(?=[修宽防含可收]))"
    r"|(?P<hint>不用|无需|不需要|不必|告别|摆脱|拒绝)"
)
_BETWEEN = re.compile(
    r"(?:任何|进|放进|放入|下|一点儿?|半点|一丝|一滴|丝毫|人工|额外|采用|使用|添加|了|过|的|用|加|含|有|做|是|普通|什么|传统|那种|做成的?|材质的?)*(?:(?:常见|普通|单调|呆板|沉闷|廉价|生硬|冰冷|笨重|传统|老式)的)?"
)
_PLAIN = frozenset(["不是", "并不是", "并非", "没有", "不支持", "不带", "不含"])
_FREE_TEXT = re.compile(r"[\u4e00-\u9fffa-z]{1,8}?(?=$|[，。！？；、,!?;的也和与及又更还就都而所用喝吃，]|且)")
_CONTAINS = re.compile(
    r"(?:添加了|加入了?|富含|特添|内含|含有|蕴含|蕴藏|加了|采用了?|选用了?|甄选|严选)(?:大量|丰富的?|多种|优质的?|天然的?|进口的?|整颗|真正的?|一整块)*"
    r"(?P<what>[\u4e00-\u9fff]{2,8}?)(?=[，。！？；、,!?;和与及的也而]|$|成分|精华|制成|打造|制作|材质|面料|工艺|技术)"
)
_FIGURATIVE = re.compile(r"诚意|心意|温柔|满足|巧思|细节|温度|用心|心思|关怀|生活|设计|方案|理念|方式|这款|它|自己|一点|一些|惊喜|快乐")
_LATIN = re.compile(r"(?<![a-z0-9])[a-z][a-z0-9]*(?:[-+./][a-z0-9]+)*\+?")
_FIGURE_BEFORE = re.compile(r"(?:爱|像|如同|仿佛|好似|宛如|犹如|代替|替代|换掉|别于)$")
_FIGURE_AFTER = re.compile(r"(?:一样|一般|般|似的|党|控|爱好者)")
"""雪纺一样轻, 有人爱真丝: of something else."""
_MIN_HAN = 0.2


class Words:
    def __init__(self, knowledge: Knowledge, *, graph: Graph, names: Names, units: Units) -> None:
        self._graph, self._names = graph, names
        self._kinds = {folded(word): kind.id for kind in knowledge.checkable for word in kind.words}
        self._harmless = frozenset(folded(word) for kind in knowledge.checkable for word in kind.unless) - self._kinds.keys()
        self._words = PhraseSet([*self._kinds, *self._harmless])
        self._deniable = PhraseSet([*self._kinds, *graph.deniable])
        self._numbered = PhraseSet(word for word in graph.deniable if re.search(r"\d", word))
        self._absent = PhraseSet(map(folded, knowledge.speech.absent))
        self._latin = frozenset(map(folded, knowledge.speech.latin))
        self._units = units

    def find(self, sight: Sight, known: Known, *, category: str) -> None:
        for hit in self._words.find(sight.text):
            if hit.phrase in self._harmless or not sight.free(hit.start, hit.end):
                continue
            source = known.affirms(hit.phrase)
            if source is None and hit.phrase[0] in "无0零" and len(hit.phrase) > 1:
                source = self._denied(hit.phrase[1:], known, category)[0]
            if source is None and (_FIGURE_AFTER.match(sight.text, hit.end) or _FIGURE_BEFORE.search(sight.text, 0, hit.start)):
                continue
            reason = None
            if source is None:
                there = self._graph.refuted(hit.phrase, known.written, known.entailed) or self._graph.other_of_its_kind(
                    hit.phrase, known.texts
                )
                reason = there[1] if there else f"no fact tells of it ({self._kinds[hit.phrase]})"
                if known.denies(hit.phrase):
                    reason = "the product's facts deny it"
            sight.claim("attribute", hit.start, hit.end, source=source, reason=reason)

    def find_numbered(self, sight: Sight, known: Known) -> None:
        """Before amounts: 2.4g of a keyboard and the B3 of a vitamin are no numbers."""
        for hit in self._numbered.find(sight.text):
            if sight.free(hit.start, hit.end) and (source := known.affirms(hit.phrase)):
                sight.claim("attribute", hit.start, hit.end, source=source)

    def find_contents(self, sight: Sight, known: Known) -> None:
        """含有X, 采用X: whatever the noun is, some fact has two characters of it."""
        for match in _CONTAINS.finditer(sight.text):
            start, end = match.span("what")
            what = match["what"]
            if not sight.free(start, end) or _FIGURATIVE.search(what):
                continue
            source = next((source for i in range(len(what) - 1) if (source := known.affirms(what[i : i + 2]))), None)
            sight.claim("attribute", start, end, source=source, reason=None if source else "no fact tells of it")

    def find_latin(self, sight: Sight, known: Known) -> None:
        """In a Chinese text a word in Latin letters is a name or a technical term: one that no fact has is made up."""
        found = list(_LATIN.finditer(sight.text)) if self._latin else []
        if not found or share_of_han(sight.text) < _MIN_HAN:
            return
        for match in found:
            word = match.group().rstrip(".-/")
            if word in self._latin or len(word) < 2 or self._units.canonical(word) or not sight.free(*match.span()):
                continue
            source = known.affirms(word) or (known.brand_source if word in known.brands else None)
            reason = None if source else "no fact has this word"
            sight.claim("attribute", match.start(), match.start() + len(word), source=source, reason=reason)

    def find_denials(self, sight: Sight, known: Known, *, category: str) -> None:
        """Before what is affirmed is looked for: 主动降噪 in 没有主动降噪 is no praise."""
        text = sight.text
        schema = self._names.wordings(category)
        for cue in _CUE.finditer(text):
            word = self._words.at(text, cue.start()) or ""
            found = None
            for position in dict.fromkeys((cue.end(), _BETWEEN.match(text, cue.end()).end())):  # type: ignore[union-attr]
                finders = [self._deniable, known.deniable, schema] + (
                    [self._absent] if cue.lastgroup in ("firm", "free") or "没有" in cue.group() else []
                )
                named = [phrase for finder in finders if (phrase := finder.at(text, position))]
                if found := max(named, key=len, default=None):
                    break
            if cue.lastgroup == "soft" and found is not None and len(found) == 1:
                found = None  # 油, 糖 are denied by 无 and 不含 alone: 不是油, 没有糖 speak of other things as well
            if found is None and cue.lastgroup == "firm" and (free := _FREE_TEXT.match(text, position)):
                found = free.group()
            if found is None and cue.group() in _PLAIN:
                found = _piece(text, position, known)
            if found is None or not sight.free(cue.start(), position + len(found)):
                continue
            if cue.start() + len(word) >= position + len(found):  # 无线, 免洗 and the like are words of their own
                continue
            source, reason = self._denied(found, known, category)
            if cue.lastgroup == "hint" and source is None and not known.affirms(found):
                continue  # 不用手洗 praises, and denies nothing
            sight.claim("attribute", cue.start(), position + len(found), source=source, reason=reason)

    def _denied(self, word: str, known: Known, category: str) -> tuple[str | None, str | None]:
        """The source of what bears a denial out, or why nothing does."""
        if source := known.denies(word):
            return source, None
        if known.affirms(word):
            return None, f"the product's facts say {word}"
        if there := self._graph.refuted(word, known.written, known.entailed):
            return there[0], None
        if source := self._names.other_value(word, known, category=category):
            return source, None
        if there := self._graph.other_of_its_kind(word, known.texts):
            return there[0], None
        return None, f"no fact says that there is no {word}"


def _piece(text: str, position: int, known: Known) -> str | None:
    """The longest run of two characters or more that some attribute has."""
    for length in range(8, 1, -1):
        piece = text[position : position + length]
        if len(piece) == length and any(piece in told for _, told in (*known.texts[2:], *known.denied)):
            return piece
    return None
