#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Train the weights that ship with the package, from folders of RGB-D frames to the file.
#
#   docs/embedded_weights/train.sh SETS START OUTPUT
#
# SETS    folder with the RGB-D folders named in the model card (adabins_ros/weights/adabins-lite.md);
#         synthetic_rooms comes from render_rooms.py, open_far are the frames of open_rooms with a
#         median of 1.3 m or more, open_near the others
# START   weights to begin from, such as those of the package
# OUTPUT  new folder
#
# Two hours and a quarter on two cores without a GPU. The number of steps follows the clock
# (trainer.max_minutes).
set -euo pipefail
sets=$(realpath "$1") start=$(realpath "$2") output=$(realpath -m "$3")
here=$(dirname "$(realpath "$0")")
mkdir -p "$output"
cd "$output"

# Real frames are few, for what looks real is near in them; of three sets only the shape counts.
real='tum_fr1_rpy: .3, tum_fr3_cabinet: .5, icl_nuim_synthetic: 4, icl_office_kt0: 2, icl_office_kt3: 2,
  tartanair_hospital: 2, tum_fr3_structure_notexture_far: 2, box: 2'

# stage NAME FROM MINUTES DRAWS FOLDER...
stage() {
  local name=$1 from=$2 minutes=$3 draws=$4
  shift 4
  adabins train --config "$here/../../config/adabins-lite.yaml" --output "$name" --model "$from" \
    trainer.max_minutes="$minutes" "data.draws={$draws, $real}" \
    "data.scale_unknown=[tum_fr1_rpy, tum_fr3_cabinet, box]" "$sets"/{synthetic_rooms,rooms2} \
    "$sets"/{open_far,open_near,tum_fr1_rpy,tum_fr3_cabinet,icl_nuim_synthetic,icl_office_kt0} \
    "$sets"/{icl_office_kt3,tartanair_hospital,tum_fr3_structure_notexture_far,box} "$@"
}

stage one "$start" 34 'rooms2: 2, open_far: 4, open_near: 1.5, rooms3: 4' "$sets/rooms3"
stage two one/best.safetensors 42 \
  'rooms2: 1.5, synthetic_rooms: .7, open_far: 4, open_near: 1.5, rooms3: 4, rooms4: 5' \
  "$sets"/{rooms3,rooms4}

average=$here/average.py
python "$average" last.safetensors 0.85 "$start" 0.15 one/best.safetensors 0.5 two/best.safetensors 0.35
python "$average" half.safetensors 0.9 "$start" 0.5 last.safetensors 0.5

# Living rooms seen from above, and wide images. seqs: render_rooms.py --sequence 4, a room a seed.
stage three half.safetensors 52 \
  'rooms2: 1, synthetic_rooms: .5, open_far: 4, open_near: 1.5, rooms3: 2, rooms4: 2, seqs: 3' \
  "$sets"/{rooms3,rooms4,seqs}

# The shares and the factor on the standard deviation: what places ask for that were left out.
python "$average" adabins-lite.safetensors 0.9 "$start" 0.5 three/best.safetensors 0.5
adabins export --model adabins-lite.safetensors --output adabins-lite.onnx
