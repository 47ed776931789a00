"""What a page asks for beside products and codes: its channel, and what each text is to be. What cannot be is refused by its field.

Knows the wire; which channels there are, and how long a code makes a text, are arguments.
"""

from collections.abc import Mapping

from common.contract.wire import ReasonsRequest, RequestItem
from common.domain.channel import NO_CHANNEL, Channel, Channels
from common.domain.constraints import Constraints
from common.errors import BadChannel, BadInput


def channel_of(request: ReasonsRequest, channels: Channels) -> Channel:
    """Raises BadChannel for one that there is not, and for a query that it does not take or lacks."""
    channel = NO_CHANNEL if request.channel is None else channels.get(request.channel)
    name = "no channel" if request.channel is None else f"channel {request.channel}"
    if channel is None:
        there = f"one of {', '.join(channels)}, or leave it out" if channels else "none: the pack has no channels"
        field, why = "/channel", f"got {request.channel!r}; expected {there}"
    elif request.query is not None and channel.query == "none":
        takers = ", ".join(one for one, other in channels.items() if other.query != "none")
        field, why = "/query", f"{name} takes none; who does: {takers or 'nobody'}"
    elif request.query is None and channel.query == "required":
        field, why = "/query", f"got none; {name} needs what the user looked for"
    else:
        return channel
    raise BadChannel(f"{field}: {why}", fields=((field, why),))


def constraints_of(item: RequestItem, *, channel: Channel) -> Constraints:
    """What is asked of one item's text beside its codes: of two longest texts the shorter."""
    limits = [limit for limit in (item.max_chars, channel.max_chars) if limit is not None]
    return Constraints(must_mention=item.must_mention, must_avoid=item.must_avoid, max_chars=min(limits, default=None))


def check_constraints(request: ReasonsRequest, *, channel: Channel, least_chars: Mapping[tuple[str, str], int]) -> None:
    """Raises BadInput naming all that no text can be at once; `least_chars`: (control, value) -> fewest characters that show it."""
    fields = []
    for index, item in enumerate(request.items):
        asked = constraints_of(item, channel=channel)
        fields += [(f"/items/{index}/{field}/{at}", why) for field, at, why in asked.contradictions()]
        for control, value in request.codes(item).items():
            least = least_chars.get((control, value or ""), 0)
            if asked.max_chars is not None and least > asked.max_chars:
                where = f"/items/{index}/max_chars" if asked.max_chars == item.max_chars else "/channel"
                fields.append(
                    (where, f"{asked.max_chars} characters at most; {control}={value} takes {least}: ask for another, or for none")
                )
    if fields:
        raise BadInput(f"{fields[0][0]}: {fields[0][1]}", fields=tuple(fields))
