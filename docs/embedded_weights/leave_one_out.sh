#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Train without one set of frames and evaluate on it: the validation in the model card.
#
#   docs/embedded_weights/leave_one_out.sh SETS ENCODER OUTPUT NAME HELD_OUT 'SET SET ...' [KEY=VALUE ...]
#
# SETS, ENCODER  as in train.sh
# NAME           of what is tried; the run is OUTPUT/NAME/HELD_OUT
# HELD_OUT       set that is left out, such as mosd_learn
# 'SET ..'       sets to train on; several times as often as they are listed
#
# 400 steps of eight images at 144x192 in one thread: three minutes. The last weights count, so the
# set that is left out chooses nothing.
set -euo pipefail
sets=$(realpath "$1") encoder=$(realpath "$2") output=$(realpath -m "$3") name=$4 held_out=$5
trained_on=()
for set in $6; do [ "$set" = "$held_out" ] || trained_on+=("$sets/$set"); done
shift 6
config=$(dirname "$(realpath "$0")")/../../config/adabins-lite.yaml
run=$output/$name/$held_out
mkdir -p "$output/$name"
export OMP_NUM_THREADS=1

small=$output/small.safetensors
[ -f "$small" ] || python - "$small" <<'PYTHON'
import sys

from adabins_ros.model import AdaBins, PRESETS, save_checkpoint

lite = PRESETS['adabins-lite']
size = {'input_size': (144, 192), 'training_focal_length_px': 0.6 * lite.training_focal_length_px}
save_checkpoint(AdaBins(lite.model_copy(update=size)), sys.argv[1])
PYTHON

adabins train --config "$config" --output "$run" "${trained_on[@]}" \
  network.model="$small" network.encoder_weights="$encoder" \
  "data.validation_bags=[$sets/$held_out]" data.workers=1 trainer.max_minutes=null \
  trainer.max_steps=400 trainer.max_epochs=100 trainer.validate_every=100 trainer.ema_decay=0.98 \
  trainer.pictures_every=0 "$@"
adabins evaluate --model "$run/best.safetensors" --dataset folder --data "$sets/$held_out" \
  --output "$run/report"
