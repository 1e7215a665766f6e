"""encoder + data set → features → relatedness and scores → ranking. Mathematics and data meet here and nowhere else.

`rank` asks which of many encoders suits a target; `relate` asks, for one encoder, which reference a target is like.
Both go the same way, one step a file, in this order:

1. `data`: load the data sets, split their rows for fitting and for measuring.
2. `extraction`: what an encoder makes of them, computed once or found in the cache.
3. `measure`: fit `TaskRelatedness`, compute the other scores.
4. `rank_encoders`, `relate_tasks`: for all encoders, or for all tasks.

`make_pack` stops after 2 and keeps statistics, for data whose samples cannot be there.
"""

from transferability.pipeline.choice import choose_encoders as choose_encoders
from transferability.pipeline.choice import default_encoder as default_encoder
from transferability.pipeline.data import AnyEncoder as AnyEncoder
from transferability.pipeline.data import Data as Data
from transferability.pipeline.data import Progress as Progress
from transferability.pipeline.data import Split as Split
from transferability.pipeline.data import load_part as load_part
from transferability.pipeline.data import prepare as prepare
from transferability.pipeline.data import unlabelled_notes as unlabelled_notes
from transferability.pipeline.describe import describe_run as describe_run
from transferability.pipeline.make_pack import make_pack as make_pack
from transferability.pipeline.rank_encoders import rank as rank
from transferability.pipeline.relate_tasks import relate as relate
from transferability.settings import Settings as Settings

__all__ = [
    "AnyEncoder",
    "Data",
    "Progress",
    "Settings",
    "Split",
    "choose_encoders",
    "default_encoder",
    "describe_run",
    "load_part",
    "make_pack",
    "prepare",
    "rank",
    "relate",
    "unlabelled_notes",
]
