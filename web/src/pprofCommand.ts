import { mergeUrl } from "./api";
import type { State } from "./state";

// Returns the shell command that opens the selected profiles in `go tool pprof`. With *hasKey* it reads the API key
// from an environment variable, so that no key is ever part of it.
export function pprofCommand(state: State, hasKey: boolean): string {
  const quotedUrl = (base: boolean): string => {
    const url = mergeUrl(state, base);
    return hasKey ? `"${url.replace("://", "://x:$PROFBUCKET_KEY@")}"` : `'${url}'`;
  };
  const words = ["go tool pprof"];
  if (state.sampleType) words.push(`-sample_index=${quote(state.sampleType)}`);
  if (state.diff) words.push(`-base ${quotedUrl(true)}`);
  words.push(quotedUrl(false));
  return words.join(" ");
}

function quote(text: string): string {
  return /^\w+$/.test(text) ? text : `'${text.replaceAll("'", "")}'`;
}
