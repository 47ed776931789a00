// What is asked of the server, and every way in which it does not answer as one kind of error.

let key = null; // kept as long as the page is open, and nowhere else

export function useKey(given) {
  key = given;
}

export class Problem extends Error {
  constructor({ code, detail = "", request_id = null, retryable = true, retryAfter = null }) {
    super(detail || code);
    Object.assign(this, { code, detail, requestId: request_id, retryable, retryAfter });
  }
}

async function ask(path, { body, signal, headers = {} } = {}) {
  const sent = { ...headers, ...(key && { Authorization: `Bearer ${key}` }), ...(body && { "Content-Type": "application/json" }) };
  let answer;
  try {
    answer = await fetch(path, { method: body ? "POST" : "GET", body: body && JSON.stringify(body), headers: sent, signal });
  } catch (error) {
    throw signal?.aborted ? error : new Problem({ code: "unreachable" });
  }
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => ({ code: `${answer.status}`, detail: answer.statusText, retryable: answer.status >= 500 }));
  throw new Problem({ ...told, retryAfter: answer.headers.get("Retry-After") });
}

export async function json(path, options) {
  return (await ask(path, options)).json();
}

// Tells each line of a page as it comes; gives back what the last one says of the whole.
export async function reasons(body, { deadlineMs, signal }, tell) {
  const headers = { Accept: "application/x-ndjson", "X-Deadline-Ms": deadlineMs };
  const reader = (await ask("../v1/reasons", { body, signal, headers })).body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ; ) {
    const { value, done } = await reader.read().catch((error) => {
      if (signal.aborted) throw error;
      return { done: true };
    });
    if (done) throw new Problem({ code: "broken_off" });
    const whole = (rest + value).split("\n");
    rest = whole.pop();
    for (const line of whole.map((text) => JSON.parse(text))) {
      if (line.problem) throw new Problem(line.problem);
      if (line.end) return line.end;
      tell(line);
    }
  }
}
