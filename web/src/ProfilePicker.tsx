import type { SampleType } from "./api";
import { Select } from "./Select";
import {
  AGGREGATES,
  switchProfileType,
  switchService,
  type Aggregate,
  type State,
  type UpdateState,
} from "./state";

interface Props {
  state: State;
  update: UpdateState;
  services: string[];
  profileTypes: string[];
  sampleTypes: SampleType[];
  sampleType: string;
  usualAggregate: string; // of the sample type; empty if it is not known yet
}

const AGGREGATE_NAMES: Partial<Record<Aggregate, string>> = { delta: "increase" };

// The lists in the header: whose profiles are shown, which of their values, and how these become one.
export function ProfilePicker(props: Props) {
  const { state, update, services, profileTypes, sampleTypes, sampleType, usualAggregate } = props;
  return (
    <>
      <Select
        label="Service"
        value={state.service}
        options={services}
        onChange={(name) => update(switchService(name))}
      />
      {state.service && (
        <Select
          label="Type"
          value={state.profileType}
          options={profileTypes}
          onChange={(type) => update(switchProfileType(type))}
        />
      )}
      {sampleTypes.length > 0 && (
        <Select
          label="Sample"
          value={sampleType}
          options={sampleTypes.map(({ type }) => type)}
          onChange={(type) => update({ sampleType: type })}
        />
      )}
      {(sampleTypes.length > 0 || state.aggregate !== "auto") && (
        <Select
          label="Values"
          value={state.aggregate}
          options={[...AGGREGATES]}
          names={{ ...AGGREGATE_NAMES, auto: usualAggregate ? `usual: ${usualAggregate}` : "usual" }}
          onChange={(aggregate) => update({ aggregate: aggregate as Aggregate })}
        />
      )}
    </>
  );
}
