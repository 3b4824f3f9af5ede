import type { ComponentChildren } from "preact";
import { useCallback, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { drawFlameGraph, levelAt, ROW_HEIGHT, rowTop, type Viewport } from "./draw";
import { FrameDetails, type ValueContext } from "./frames";
import type { Graph } from "./graphs";
import { prefersReducedMotion, useSize } from "./hooks";

interface Props extends Graph {
  context: ValueContext;
  onZoom: (stackId: string) => void;
  onSelect: (node: number) => void;
  onFocus: (functionName: string) => void;
  onMenu: (node: number, x: number, y: number) => void; // in the window
}

const ZOOM_MILLISECONDS = 160;

// A flame graph on a canvas, with zoom, tooltip and keyboard navigation.
export function FlameGraph(props: Props) {
  const { tree, style, context, rootAtBottom, topLevel } = props;
  const scroller = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const { width, height } = useSize(scroller);
  const zoomed = useMemo(() => tree.widestAncestor(tree.findStack(props.zoom)), [tree, props.zoom]);
  const visible = useRef({ tree, left: tree.left[zoomed]!, right: tree.right[zoomed]! });
  const [hovered, setHovered] = useState<{ node: number; x: number; y: number } | null>(null);
  const [cursor, setCursor] = useState(zoomed);
  const [, setDrawings] = useState(0); // counts drawings, so that the outlines are placed again after each

  const viewport = useCallback(
    (): Viewport => ({
      left: visible.current.left,
      right: visible.current.right,
      width,
      height,
      scroll: scroller.current ? scrollOffset(scroller.current, rootAtBottom) : 0,
      topLevel,
      rootAtBottom,
    }),
    [width, height, topLevel, rootAtBottom],
  );
  const redraw = useCallback(() => {
    if (canvas.current && width) drawFlameGraph(canvas.current, tree, viewport(), style);
  }, [tree, style, viewport, width]);

  // A layout effect, because a key could move the cursor before useEffect runs.
  useLayoutEffect(() => setCursor(zoomed), [tree, zoomed]);

  // Moves to the zoomed frame: in an animation, unless the tree is another one.
  useLayoutEffect(() => {
    const start = visible.current;
    const target = { tree, left: tree.left[zoomed]!, right: tree.right[zoomed]! };
    const unchanged = start.left === target.left && start.right === target.right;
    if (start.tree !== tree || unchanged || prefersReducedMotion() || !width) {
      visible.current = target;
      redraw();
      setDrawings((count) => count + 1);
      return;
    }
    let request = 0;
    const startTime = performance.now();
    const animate = (now: number): void => {
      const progress = Math.min(1, Math.max(0, (now - startTime) / ZOOM_MILLISECONDS));
      const eased = 1 - (1 - progress) ** 3;
      visible.current = {
        tree,
        left: start.left + (target.left - start.left) * eased,
        right: start.right + (target.right - start.right) * eased,
      };
      redraw();
      if (progress < 1) request = requestAnimationFrame(animate);
      else setDrawings((count) => count + 1);
    };
    request = requestAnimationFrame(animate);
    return () => cancelAnimationFrame(request);
  }, [tree, zoomed, redraw, width]);

  // Scrolls to the root.
  useLayoutEffect(() => {
    if (scroller.current) scroller.current.scrollTop = rootAtBottom ? scroller.current.scrollHeight : 0;
  }, [tree, rootAtBottom, height]);

  const positionOf = (event: MouseEvent): { x: number; y: number } => {
    const bounds = canvas.current!.getBoundingClientRect();
    return { x: event.clientX - bounds.left, y: event.clientY - bounds.top };
  };
  const nodeOf = (event: MouseEvent): number => {
    const { x, y } = positionOf(event);
    const { left, right } = visible.current;
    return tree.nodeAt(levelAt(y, viewport()), left + (x / width) * (right - left));
  };
  const zoomTo = (node: number): void => {
    props.onSelect(node);
    props.onZoom(node > 0 ? tree.stackId(node) : "");
  };
  const focus = (node: number): void => {
    const name = context.functions.name[tree.fn[node]!]; // not sanitized: the server compares it
    if (name !== undefined) props.onFocus(name);
  };
  const moveTo = (node: number): void => {
    if (node < 0 || tree.depth[node]! < topLevel) return;
    setCursor(node);
    props.onSelect(node);
    scrollToRow(scroller.current!, rowTop(tree.depth[node]!, viewport()), height);
  };
  const openMenu = (): void => {
    const bounds = canvas.current!.getBoundingClientRect();
    const { left, top } = outlineOf(cursor);
    props.onSelect(cursor);
    props.onMenu(cursor, bounds.left + parseFloat(left), bounds.top + parseFloat(top) + ROW_HEIGHT);
  };
  const onKeyDown = (event: KeyboardEvent): void => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const towardsLeaves = rootAtBottom ? "ArrowUp" : "ArrowDown";
    const towardsRoot = rootAtBottom ? "ArrowDown" : "ArrowUp";
    const actions: Record<string, () => void> = {
      [towardsLeaves]: () => moveTo(tree.firstChild[cursor]!),
      [towardsRoot]: () => moveTo(cursor ? tree.parent[cursor]! : -1),
      ArrowRight: () => moveTo(tree.next[cursor]!),
      ArrowLeft: () => moveTo(tree.previous[cursor]!),
      Home: () => moveTo(topLevel ? tree.firstChild[0]! : 0),
      Enter: () => zoomTo(cursor),
      " ": () => zoomTo(cursor),
      Escape: () => zoomTo(0),
      Backspace: () => zoomTo(zoomed ? tree.parent[zoomed]! : 0),
      s: () => focus(cursor),
      m: openMenu,
      ContextMenu: openMenu,
    };
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  };

  const outlineOf = (node: number) => {
    const { left, right } = visible.current;
    const scale = width / (right - left);
    const x = Math.max(0, (tree.left[node]! - left) * scale);
    const end = Math.min(width, (tree.right[node]! - left) * scale);
    return {
      left: `${x}px`,
      width: `${Math.max(2, end - x)}px`,
      top: `${rowTop(tree.depth[node]!, viewport())}px`,
    };
  };
  const contentHeight = Math.max((tree.levels.length - topLevel) * ROW_HEIGHT, height);
  return (
    <div
      class="flame"
      ref={scroller}
      onScroll={() => {
        setHovered(null);
        redraw();
        setDrawings((count) => count + 1);
      }}
    >
      <div style={{ height: `${contentHeight}px` }}>
        <div class="flame-viewport" style={{ height: `${height}px` }}>
          <canvas
            ref={canvas}
            tabIndex={0}
            role="application"
            aria-roledescription="flame graph"
            aria-label={`${props.label}. Arrow keys move between frames, Enter zooms in, Escape resets the zoom, s shows callers and callees, m opens a menu.`}
            style={{ width: `${width}px`, height: `${height}px` }}
            onMouseMove={(event) => {
              const node = nodeOf(event);
              setHovered(node < 0 ? null : { node, ...positionOf(event) });
            }}
            onMouseLeave={() => setHovered(null)}
            onClick={(event) => {
              const node = nodeOf(event);
              if (node < 0) return;
              if (event.shiftKey) focus(node);
              else zoomTo(node);
            }}
            onContextMenu={(event) => {
              const node = nodeOf(event);
              if (node < 0 || event.shiftKey) return; // with Shift, the browser's own menu
              event.preventDefault();
              setHovered(null);
              props.onSelect(node);
              props.onMenu(node, event.clientX, event.clientY);
            }}
            onKeyDown={onKeyDown}
          />
          {cursor < tree.count && tree.depth[cursor]! >= topLevel && (
            <div class="outline cursor" style={outlineOf(cursor)} />
          )}
          {hovered && hovered.node < tree.count && (
            <>
              <div class="outline" style={outlineOf(hovered.node)} />
              <Tooltip x={hovered.x} y={hovered.y} width={width} height={height}>
                <FrameDetails tree={tree} node={hovered.node} zoomed={zoomed} context={context} />
              </Tooltip>
            </>
          )}
        </div>
      </div>
    </div>
  );
}

interface TooltipProps {
  x: number;
  y: number;
  width: number;
  height: number;
  children: ComponentChildren;
}

// A tooltip on that side of the pointer that has more room.
function Tooltip({ x, y, width, height, children }: TooltipProps) {
  const position = {
    ...(x < width / 2 ? { left: `${x + 14}px` } : { right: `${width - x + 14}px` }),
    ...(y < height / 2 ? { top: `${y + 16}px` } : { bottom: `${height - y + 12}px` }),
  };
  return (
    <div class="tooltip" style={position}>
      {children}
    </div>
  );
}

// Returns the pixels between the root's row and the edge that it lies at when not scrolled.
function scrollOffset(scroller: HTMLElement, rootAtBottom: boolean): number {
  return rootAtBottom ? scroller.scrollHeight - scroller.clientHeight - scroller.scrollTop : scroller.scrollTop;
}

function scrollToRow(scroller: HTMLElement, top: number, height: number): void {
  if (top < 0) scroller.scrollTop += top;
  else if (top + ROW_HEIGHT > height) scroller.scrollTop += top + ROW_HEIGHT - height;
}
