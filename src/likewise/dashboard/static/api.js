// The admin API, with the key that the browser keeps for this tab only.

const KEY = "likewise-key";
let onDenied = () => {};

export const hasKey = () => Boolean(sessionStorage.getItem(KEY));
export const setKey = (key) => sessionStorage.setItem(KEY, key);
export const dropKey = () => sessionStorage.removeItem(KEY);
export const whenDenied = (handler) => { onDenied = handler; };

/** What a header may carry: the bytes of its UTF-8 form, a character each. */
const encoded = (text) => String.fromCharCode(...new TextEncoder().encode(text));

export async function api(method, path, body) {
  const headers = { authorization: `Bearer ${encoded(sessionStorage.getItem(KEY) ?? "")}` };
  if (body !== undefined) headers["content-type"] = "application/json";
  let response;
  try {
    response = await fetch(`../admin${path}`, {
      method, headers, body: body === undefined ? undefined : JSON.stringify(body), cache: "no-store" });
  } catch {
    throw new Error("the gateway does not answer; is it running?");
  }
  let found = null;
  try { found = await response.json(); } catch { /* said below */ }
  if (response.status === 401) onDenied(found?.error?.message);
  if (!response.ok) throw new Error(found?.error?.message ?? `the gateway answers ${response.status}`);
  return found;
}

export const get = (path) => api("GET", path);
export const post = (path, body) => api("POST", path, body);
