// The flame graphs that show a merged profile: one, those of both sides of a comparison, or callers and callees.

import type { FrameStyle } from "./draw";
import type { Tree } from "./tree";

export interface Graph {
  title: string; // above the graph; empty if it is the only one
  label: string; // for screen readers
  tree: Tree;
  style: FrameStyle;
  zoom: string; // a stack's id
  rootAtBottom: boolean;
  topLevel: number; // the first level that is shown
}
