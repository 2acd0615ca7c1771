"""What protects the owners' modules and activations from those that work with them."""

from gaisnet.executor.privacy.adder import Adder
from gaisnet.executor.privacy.guard import Guard
from gaisnet.executor.privacy.ledger import epsilon_spent
from gaisnet.executor.privacy.owner_side import OwnerSide

__all__ = ["Adder", "Guard", "OwnerSide", "epsilon_spent"]
