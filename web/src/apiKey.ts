// The API key. It lives in the session storage of each tab, which tabs of the same page hand on to one another, and is
// sent as a header only.

import { itemsOf } from "./storage";

const ITEM = "profbucket.key";
const items = itemsOf(() => sessionStorage);

export const apiKey = {
  get: (): string => items.get(ITEM) ?? "",
  set: (value: string): void => items.set(ITEM, value),
  forget: (): void => items.set(ITEM, null),
};

// What tabs say to each other: a tab without a key asks, one with a key answers, and all forget it together.
type Message = { kind: "ask" } | { kind: "key"; key: string } | { kind: "forget" };

export interface KeyChannel {
  ask: () => void;
  forget: () => void;
  close: () => void;
}

// Opens the channel to the other tabs of the page at *path*. *onChange* is called when they change this tab's key.
export function openKeyChannel(path: string, onChange: () => void): KeyChannel {
  const channel = new BroadcastChannel(`profbucket.key ${path}`);
  const send = (message: Message): void => channel.postMessage(message);
  channel.onmessage = ({ data }: MessageEvent<Message>) => {
    const key = apiKey.get();
    if (data.kind === "ask" && key) send({ kind: "key", key });
    else if (data.kind === "key" && !key) {
      apiKey.set(data.key);
      onChange();
    } else if (data.kind === "forget" && key) {
      apiKey.forget();
      onChange();
    }
  };
  return {
    ask: () => send({ kind: "ask" }),
    forget: () => send({ kind: "forget" }),
    close: () => channel.close(),
  };
}
