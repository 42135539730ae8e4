// cli: whether a word stands for a network that is stored somewhere, or is the name of one to be built.
import { existsSync } from "node:fs";
import { isWeightsName } from "../formats/open.node.ts";
import { isPretrainedName } from "../formats/pretrained.ts";
import { isHubName } from "../hub/hubName.ts";

/** What looks like a path is meant as one, so a mistyped path is not answered with names of networks. */
export function isNetworkFile(what: string): boolean {
  return (
    existsSync(what) ||
    isPretrainedName(what) ||
    isHubName(what) ||
    what === "" ||
    /[\\/]|\.(onnx|html|ckpt|tar)$/.test(what) ||
    isWeightsName(what)
  );
}
