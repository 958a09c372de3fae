# As far as Procession uses it.
from cloudpickle.cloudpickle import CloudPickler as CloudPickler
from cloudpickle.cloudpickle import Pickler as Pickler
from cloudpickle.cloudpickle import dumps as dumps
from cloudpickle.cloudpickle import loads as loads
from cloudpickle.cloudpickle import register_pickle_by_value as register_pickle_by_value
from cloudpickle.cloudpickle import unregister_pickle_by_value as unregister_pickle_by_value

__version__: str
