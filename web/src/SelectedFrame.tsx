import { describeFrame, FrameDetails, type ValueContext } from "./frames";
import type { FrameAction } from "./FrameMenu";
import type { Tree } from "./tree";

interface Props {
  frame: { tree: Tree; node: number } | null;
  zoomed: number; // the frame that the graph shows; 0 for all
  context: ValueContext;
  actions: FrameAction[];
}

// The frame at the cursor, below the graphs. Screen readers read it out.
export function SelectedFrame({ frame, zoomed, context, actions }: Props) {
  return (
    <>
      <div class="selected-frame">
        {frame ? (
          <>
            <FrameDetails tree={frame.tree} node={frame.node} zoomed={zoomed} context={context} />
            <div class="actions">
              {actions.map(({ label, hint, run }) => (
                <button type="button" class="small" key={label} title={hint} onClick={run}>
                  {label}
                </button>
              ))}
            </div>
          </>
        ) : (
          <p class="note">
            Click a frame to zoom in, Shift-click it for its callers and callees, right-click it for more. The
            arrow keys move between frames.
          </p>
        )}
      </div>
      <p class="visually-hidden" role="status">
        {frame ? describeFrame(frame.tree, frame.node, context) : ""}
      </p>
    </>
  );
}
