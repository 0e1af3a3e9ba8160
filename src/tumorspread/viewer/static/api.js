// The server's answers, and its refusals as exceptions. The cookie that the first page load set goes with each request.

/** The server said no: `status`, a sentence for people, and the whole answer. */
export class Refused extends Error {
  constructor(status, answer) {
    super(answer.error || `the server answered ${status}`);
    this.status = status;
    this.answer = answer;
  }
}

/** Ask for JSON; `body` is sent as JSON. */
export async function ask(method, path, body) {
  const request = { method, headers: {} };
  if (body !== undefined) {
    request.headers["Content-Type"] = "application/json";
    request.body = JSON.stringify(body);
  }
  const response = await reach(path, request);
  return response.status === 204 ? {} : response.json();
}

/** The bytes of a file; `tell` hears how many have come, and of how many (0 where the server does not say). */
export async function fetchBytes(path, tell = () => {}) {
  const response = await reach(path, {});
  const total = Number(response.headers.get("Content-Length")) || 0;
  const parts = [];
  let loaded = 0;
  const reader = response.body.getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    parts.push(part.value);
    loaded += part.value.length;
    tell(loaded, total);
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

/** Send a file as a new case. Returns the promise of the server's answer, and how to stop it. */
export function upload(file, tell) {
  const request = new XMLHttpRequest();
  const answer = new Promise((resolve, reject) => {
    request.upload.onprogress = (event) => tell(event.loaded, event.total);
    request.onload = () => {
      const body = parsed(request.responseText);
      if (request.status < 300) {
        resolve(body);
      } else {
        reject(new Refused(request.status, body));
      }
    };
    request.onerror = () => reject(new Refused(0, { error: "the server could not be reached; is it still running?" }));
    request.onabort = () => reject(new Refused(0, { error: "stopped" }));
  });
  const form = new FormData();
  form.append("scan", file, file.name);
  request.open("POST", "/api/cases");
  request.send(form);
  return { answer, stop: () => request.abort() };
}

async function reach(path, request) {
  let response;
  try {
    response = await fetch(path, { cache: "no-store", credentials: "same-origin", ...request });
  } catch {
    throw new Refused(0, { error: "the server could not be reached; is it still running?" });
  }
  if (!response.ok) {
    throw new Refused(response.status, parsed(await response.text()));
  }
  return response;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}
