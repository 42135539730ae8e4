// cli: settings that are chosen for a folder of images: measured where the machine decides them, and said.
import { formatInteger, table } from "../analyze/format.ts";
import { tuneRun } from "../run/tune.node.ts";
import { type Choice, chooseRate, epochsWithin } from "../train/choose.ts";
import { settings } from "../train/settings.ts";
import { quoted } from "./commandLine.ts";
import type { ResolvedTraining, TrainFlags } from "./trainConfig.ts";

/**
 * The same settings with those that must be measured on the run's own images and device: the rate of a folder's
 * settings, and with --minutes the epochs.
 */
export async function measuredTraining(
  training: ResolvedTraining,
  flags: TrainFlags,
  report: (line: string) => void,
): Promise<ResolvedTraining> {
  const { config, facts } = training;
  const { minutes, lr, initFrom } = flags;
  const wantsRate = facts !== undefined && lr === undefined;
  if (!wantsRate && minutes === undefined) return training;
  const began = performance.now();
  report(
    wantsRate
      ? "trying learning rates on a copy of the network, before the run begins"
      : "measuring how fast the network trains, before the run begins",
  );
  const tuning = await tuneRun(config, { initFrom, ...(wantsRate ? {} : { updates: SPEED_UPDATES }) });
  const secondsLeft = minutes === undefined ? 0 : minutes * 60 - (performance.now() - began) / 1000;
  return training.resolveWith({
    ...(minutes === undefined ? {} : { epochs: epochsWithin(secondsLeft, tuning.speed) }),
    ...(wantsRate ? { rate: chooseRate(tuning.rate, config) } : {}),
  });
}

/** Enough to see how fast they are. */
const SPEED_UPDATES = 12;

/** The choices for people, each as the flag that says it, and the command that repeats them. */
export function choiceLines({ choices, facts }: ResolvedTraining, words: readonly string[]): readonly string[] {
  if (facts === undefined || choices.length === 0) return [];
  const flagOf = ({ path, value }: Choice): string => {
    const flag = settings.get(path)?.flag;
    return flag?.value === undefined ? `${flag?.name}` : `${flag.name} ${value}`;
  };
  const images = facts.counts.reduce((sum, count) => sum + count, 0);
  return [
    `chosen for ${formatInteger(images)} training images in ${facts.counts.length} classes; what you say yourself ` +
      "outweighs a choice:",
    ...table(choices.map((choice) => [`  ${flagOf(choice)}`, choice.reason])).split("\n"),
    `the same again: ${["densenet", ...withoutMinutes(words).map(quoted), ...choices.map(flagOf)].join(" ")}`,
  ];
}

/** Words of a command line without --minutes, which measures, and --output, whose folder is taken. */
function withoutMinutes(words: readonly string[]): readonly string[] {
  const left = ["--minutes", "--output", "-o"];
  return words.filter((word, at) => {
    const [name = ""] = word.split("=");
    return !left.includes(name) && !left.includes(words[at - 1] ?? "");
  });
}
