import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { draw, levelAt, ROW, rowTop, type Look, type Window } from "./draw";
import { calm, useSize } from "./hooks";
import { shownFrame, type Side } from "./frames";
import type { Tree } from "./tree";

interface Props {
  label: string;
  tree: Tree;
  look: Look;
  side: Side;
  zoom: string;
  flip: boolean;
  top: number;
  height: number | null; // pixels, or null for all the room there is
  onZoom: (mark: string) => void;
  onPick: (node: number) => void;
  onFocus: (name: string) => void;
}

const DURATION = 160; // milliseconds that a zoom takes

export function FlameView(props: Props) {
  const { tree, look, side, flip, top } = props;
  const box = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const size = useSize(box);
  const zoomed = useMemo(() => tree.marked(props.zoom), [tree, props.zoom]);
  const shown = useRef({ tree, left: tree.left[zoomed]!, right: tree.right[zoomed]! });
  const [hovered, setHovered] = useState<{ node: number; x: number; y: number } | null>(null);
  const [cursor, setCursor] = useState(zoomed);
  const [, settle] = useState(0); // outlines lie on what was drawn, and are laid again after it
  const height = Math.min(size.height, Math.max(size.height, ROW));

  const view = useCallback(
    (): Window => ({
      left: shown.current.left,
      right: shown.current.right,
      width: size.width,
      height,
      scroll: box.current ? scrolled(box.current, flip) : 0,
      top,
      flip,
    }),
    [size, height, top, flip],
  );
  const redraw = useCallback(() => {
    if (canvas.current && size.width) draw(canvas.current, tree, view(), look);
  }, [tree, look, view, size]);

  useEffect(() => setCursor(zoomed), [tree, zoomed]);

  // To the frame that was zoomed to, in some steps, unless it is another tree.
  useLayoutEffect(() => {
    const goal = { tree, left: tree.left[zoomed]!, right: tree.right[zoomed]! };
    const from = { ...shown.current };
    const still = from.left === goal.left && from.right === goal.right;
    if (from.tree !== tree || still || calm() || !size.width) {
      shown.current = goal;
      redraw();
      settle((count) => count + 1);
      return;
    }
    let frame = 0;
    const begin = performance.now();
    const step = (now: number): void => {
      const part = Math.min(1, Math.max(0, (now - begin) / DURATION));
      const eased = 1 - (1 - part) ** 3;
      shown.current = {
        tree,
        left: from.left + (goal.left - from.left) * eased,
        right: from.right + (goal.right - from.right) * eased,
      };
      redraw();
      if (part < 1) frame = requestAnimationFrame(step);
      else settle((count) => count + 1);
    };
    frame = requestAnimationFrame(step);
    return () => cancelAnimationFrame(frame);
  }, [tree, zoomed, redraw, size]);

  // A flame's root is at the bottom: that is what is looked at first.
  useLayoutEffect(() => {
    if (box.current) box.current.scrollTop = flip ? box.current.scrollHeight : 0;
  }, [tree, flip, size.height]);

  const find = (event: MouseEvent): number => {
    const bounds = canvas.current!.getBoundingClientRect();
    const now = view();
    const place = now.left + ((event.clientX - bounds.left) / bounds.width) * (now.right - now.left);
    return tree.at(levelAt(event.clientY - bounds.top, now), place);
  };
  const zoomTo = (node: number): void => {
    props.onPick(node);
    props.onZoom(node > 0 ? tree.markOf(node) : "");
  };
  const focus = (node: number): void => {
    const name = side.functions.name[tree.fn[node]!]; // as it is in the profile, not as it is shown
    if (name !== undefined) props.onFocus(name);
  };
  const move = (node: number): void => {
    if (node < 0 || tree.depth[node]! < top) return;
    setCursor(node);
    props.onPick(node);
    reveal(box.current!, rowTop(tree.depth[node]!, view()), height);
  };
  const onKey = (event: KeyboardEvent): void => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const down = flip ? "ArrowUp" : "ArrowDown";
    const up = flip ? "ArrowDown" : "ArrowUp";
    const act: Record<string, () => void> = {
      [down]: () => move(tree.first[cursor]!),
      [up]: () => move(cursor ? tree.parent[cursor]! : -1),
      ArrowRight: () => move(tree.next[cursor]!),
      ArrowLeft: () => move(tree.previous[cursor]!),
      Home: () => move(top ? tree.first[0]! : 0),
      Enter: () => zoomTo(cursor),
      " ": () => zoomTo(cursor),
      Escape: () => zoomTo(0),
      Backspace: () => zoomTo(zoomed ? tree.parent[zoomed]! : 0),
      s: () => focus(cursor),
    };
    const found = act[event.key];
    if (!found) return;
    event.preventDefault();
    found();
  };

  const outline = (node: number) => {
    const now = view();
    const scale = now.width / (now.right - now.left);
    const left = Math.max(0, (tree.left[node]! - now.left) * scale);
    const right = Math.min(now.width, (tree.right[node]! - now.left) * scale);
    return {
      left: `${left}px`,
      width: `${Math.max(2, right - left)}px`,
      top: `${rowTop(tree.depth[node]!, now)}px`,
    };
  };
  const rows = tree.levels.length - top;
  return (
    <div
      class="flame"
      ref={box}
      style={props.height === null ? {} : { height: `${props.height}px` }}
      onScroll={() => {
        setHovered(null);
        redraw();
        settle((count) => count + 1);
      }}
    >
      <div class="flame-all" style={{ height: `${Math.max(rows * ROW, height)}px` }}>
        <div class="flame-seen" style={{ height: `${height}px` }}>
          <canvas
            ref={canvas}
            tabIndex={0}
            role="application"
            aria-roledescription="flame graph"
            aria-label={`${props.label}. Arrow keys move between frames, Enter zooms, Escape shows all, s opens callers and callees.`}
            style={{ width: `${size.width}px`, height: `${height}px` }}
            onMouseMove={(event) => {
              const node = find(event);
              const bounds = canvas.current!.getBoundingClientRect();
              setHovered(
                node < 0 ? null : { node, x: event.clientX - bounds.left, y: event.clientY - bounds.top },
              );
            }}
            onMouseLeave={() => setHovered(null)}
            onClick={(event) => {
              const node = find(event);
              if (node < 0) return;
              if (event.shiftKey) focus(node);
              else zoomTo(node);
            }}
            onKeyDown={onKey}
          />
          {cursor >= 0 && cursor < tree.count && tree.depth[cursor]! >= top && (
            <div class="outline cursor" style={outline(cursor)} />
          )}
          {hovered && hovered.node < tree.count && (
            <>
              <div class="outline" style={outline(hovered.node)} />
              <Tip x={hovered.x} y={hovered.y} width={size.width} height={height}>
                {shownFrame(tree, hovered.node, side)}
              </Tip>
            </>
          )}
        </div>
      </div>
    </div>
  );
}

function Tip(props: { x: number; y: number; width: number; height: number; children: preact.ComponentChildren }) {
  const { x, y, width, height } = props;
  const place = {
    ...(x < width / 2 ? { left: `${x + 14}px` } : { right: `${width - x + 14}px` }),
    ...(y < height / 2 ? { top: `${y + 16}px` } : { bottom: `${height - y + 12}px` }),
  };
  return (
    <div class="tip" style={place}>
      {props.children}
    </div>
  );
}

function scrolled(box: HTMLElement, flip: boolean): number {
  return flip ? box.scrollHeight - box.clientHeight - box.scrollTop : box.scrollTop;
}

function reveal(box: HTMLElement, top: number, height: number): void {
  if (top < 0) box.scrollTop += top;
  else if (top + ROW > height) box.scrollTop += top + ROW - height;
}
